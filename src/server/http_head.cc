// The only file that includes Boost.Beast: it takes the header's lines apart.
#include "server/http_head.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/status.hpp>
#include <cctype>
#include <vector>

#include "server/http_target.h"

namespace dak {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

[[noreturn]] void refuse(std::string_view reason) {
  throw HttpRefusal(400, fmt::format("this is not HTTP/1.1: {}", reason));
}

// A value that stands once: said twice it must be the same.
struct Single {
  std::string_view name;
  std::string value = {};
  bool seen = false;

  void add(std::string_view said) {
    if (seen && said != value) {
      throw HttpRefusal(400, fmt::format("the header says {} twice, and not the same", name));
    }
    value = said;
    seen = true;
  }
};

// What the fields say that something here depends on.
struct Fields {
  std::string method;
  std::string target;
  unsigned version = 0;
  Single authorization{"Authorization"};
  Single api_key{"X-Api-Key"};
  Single origin{"Origin"};
  Single content_type{"Content-Type"};
  std::vector<std::string> hosts;
  std::vector<std::string> transfer_encodings;
  std::vector<std::string> content_encodings;
  std::vector<std::string> expectations;

  void add(http::field field, std::string_view name, std::string_view value) {
    switch (field) {
      case http::field::authorization:
        return authorization.add(value);
      case http::field::origin:
        return origin.add(value);
      case http::field::content_type:
        return content_type.add(value);
      case http::field::host:
        hosts.emplace_back(value);
        return;
      case http::field::transfer_encoding:
        transfer_encodings.emplace_back(value);
        return;
      case http::field::content_encoding:
        content_encodings.emplace_back(value);
        return;
      case http::field::expect:
        expectations.emplace_back(value);
        return;
      default:
        if (beast::iequals(name, "X-Api-Key")) api_key.add(value);
    }
  }
};

// Beast's parser of a request line, fields and lengths. Of a body it reads nothing.
class HeadParser final : public http::basic_parser<true> {
 public:
  Fields fields;

 private:
  using View = beast::string_view;

  static std::string_view std_view(View text) { return {text.data(), text.size()}; }

  void on_request_impl(http::verb /*known*/, View method, View target, int version,
                       error_code& /*error*/) override {
    fields.method = std_view(method);
    fields.target = std_view(target);
    fields.version = static_cast<unsigned>(version);
  }
  void on_field_impl(http::field field, View name, View value, error_code& /*error*/) override {
    fields.add(field, std_view(name), std_view(value));
  }
  void on_response_impl(int /*code*/, View /*reason*/, int /*version*/,
                        error_code& /*error*/) override {}
  void on_header_impl(error_code& /*error*/) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>& /*length*/,
                         error_code& /*error*/) override {}
  std::size_t on_body_impl(View /*body*/, error_code& /*error*/) override { return 0; }
  void on_chunk_header_impl(std::uint64_t /*size*/, View /*extensions*/,
                            error_code& /*error*/) override {}
  std::size_t on_chunk_body_impl(std::uint64_t /*left*/, View /*body*/,
                                 error_code& /*error*/) override {
    return 0;
  }
  void on_finish_impl(error_code& /*error*/) override {}
};

// The version's two digits where the request line ends with a version of HTTP.
std::string_view version_digits(std::string_view text) {
  const std::string_view line = text.substr(0, text.find("\r\n"));
  const std::string_view word = line.substr(line.rfind(' ') + 1);
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const bool known = word.size() == 8 && word.starts_with("HTTP/") && digit(word[5]) &&
                     word[6] == '.' && digit(word[7]);
  return known ? word.substr(5) : std::string_view();
}

// RFC 9110 2.5: a later minor version of HTTP/1 is read as 1.1, the latest that Beast and dak know.
std::string with_known_version(std::string_view text) {
  std::string known(text);
  const std::string_view digits = version_digits(text);
  if (digits.starts_with("1.") && digits[2] > '1') {
    known[static_cast<size_t>(digits.data() + 2 - text.data())] = '1';
  }
  return known;
}

void parse_lines(HeadParser& parser, std::string_view given) {
  const std::string text = with_known_version(given);
  parser.header_limit(static_cast<uint32_t>(text.size() + 1));
  parser.body_limit(boost::none);
  error_code error;
  const size_t read = parser.put(boost::asio::buffer(text), error);
  if (error == http::error::bad_version && !version_digits(text).empty()) {
    throw HttpRefusal(505, "dak speaks HTTP/1.1 and HTTP/1.0");
  }
  if (error) refuse(error.message());
  if (read != text.size()) refuse("the header ends before its empty line");
}

// RFC 9112 6.3: a length that another reader could understand otherwise ends the connection.
void check_framing(const Fields& fields, HttpHead& head) {
  for (const std::string& encoding : fields.transfer_encodings) {
    if (!beast::iequals(encoding, "chunked")) {
      throw HttpRefusal(400,
                        "Transfer-Encoding: of the codings of a body only 'chunked', alone, "
                        "is known");
    }
    if (head.version < 11) {
      throw HttpRefusal(400, "Transfer-Encoding: HTTP/1.0 has none");
    }
    head.chunked = true;
  }
}

void check_content_encoding(const Fields& fields, const HttpHead& head) {
  if (!head.has_body()) return;
  for (const std::string& encoding : fields.content_encodings) {
    if (beast::iequals(encoding, "identity") || encoding.empty()) continue;
    throw HttpRefusal(415,
                      "Content-Encoding: dak reads no compressed bodies; send the JSON as it is");
  }
}

void read_expectation(const Fields& fields, HttpHead& head) {
  if (head.version < 11) return;  // RFC 9110 10.1.1: not theirs to expect
  for (const std::string& expectation : fields.expectations) {
    if (!beast::iequals(expectation, "100-continue")) {
      throw HttpRefusal(417, "Expect: only 100-continue is known");
    }
    head.expects_continue = head.has_body();
  }
}

// RFC 9112 3.2: one Host, from 1.1 on; a target that names a host itself goes before it.
std::string host_of(const Fields& fields, const HttpTarget& target) {
  if (fields.hosts.size() > 1) throw HttpRefusal(400, "Host: there are two");
  if (fields.hosts.empty()) {
    if (fields.version >= 11) throw HttpRefusal(400, "Host: the header has none");
    return target.host;
  }
  const std::optional<std::string> host = host_of_authority(fields.hosts.front());
  if (!host) throw HttpRefusal(400, "Host: this is no host name or address");
  return target.host.empty() ? *host : target.host;
}

}  // namespace

HttpHead parse_http_head(std::string_view text) {
  HeadParser parser;
  parse_lines(parser, text);
  Fields& fields = parser.fields;
  HttpHead head{.request = {}, .version = fields.version, .keep_alive = parser.keep_alive()};
  check_framing(fields, head);
  head.content_length = parser.content_length().value_or(0);
  HttpTarget target = parse_http_target(fields.method, fields.target);
  HttpRequest& request = head.request;
  request.host = host_of(fields, target);
  read_expectation(fields, head);
  check_content_encoding(fields, head);
  request.method = std::move(fields.method);
  request.path = std::move(target.path);
  request.authorization = std::move(fields.authorization.value);
  request.api_key = std::move(fields.api_key.value);
  request.origin = std::move(fields.origin.value);
  request.content_type = std::move(fields.content_type.value);
  return head;
}

bool is_token_char(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return std::isalnum(byte) != 0 ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

std::string_view http_reason(int status) {
  const auto reason = http::obsolete_reason(static_cast<http::status>(status));
  return {reason.data(), reason.size()};
}

void check_field_line(std::string_view line) {
  const std::string_view name = line.substr(0, std::min(line.find(':'), line.size()));
  if (name.empty() || name.size() == line.size() || !std::ranges::all_of(name, is_token_char)) {
    refuse("a line behind the body is no field");
  }
}

bool HeaderScan::take(char byte) {
  if (++bytes_ > most_bytes_) {
    throw HttpRefusal(431, fmt::format("the header is longer than {} bytes", most_bytes_));
  }
  if (after_cr_) {
    if (byte != '\n') refuse("a CR without its LF");
    after_cr_ = false;
    return end_line();
  }
  if (byte == '\r') {
    after_cr_ = true;
    return false;
  }
  const auto code = static_cast<unsigned char>(byte);
  if (byte == '\n') refuse("an LF without its CR");
  if ((code < 0x20 && byte != '\t') || code == 0x7f) refuse("a control character in the header");
  if (line_bytes_ == 0 && (byte == ' ' || byte == '\t')) refuse("a line begins with white space");
  begun_ = true;
  ++line_bytes_;
  return false;
}

bool HeaderScan::end_line() {
  if (line_bytes_ == 0 && first_line_) {
    blank_bytes_ = bytes_;
    return false;
  }
  const bool last = line_bytes_ == 0;
  first_line_ = false;
  line_bytes_ = 0;
  return last;
}

}  // namespace dak
