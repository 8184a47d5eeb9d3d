// Requests out of bytes: what is refused, and that it makes no difference how the bytes arrive.
#include "server/http_framing.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace dak {
namespace {

constexpr int64_t kHeaderBytes = 1000;
constexpr int64_t kBodyBytes = 100;
constexpr const char* kHost = "Host: t\r\n";

// What came out: "METHOD path host:body" for each request, then "STATUS reason" or "more".
std::vector<std::string> framed(const std::string& text, size_t step = std::string::npos) {
  HttpFraming framing(kHeaderBytes, kBodyBytes);
  std::vector<std::string> out;
  for (size_t at = 0; at < text.size(); at += std::min(step, text.size() - at)) {
    framing.add(std::string_view(text).substr(at, step));
    for (bool more = false; !more;) {
      switch (framing.next()) {
        case HttpFraming::Step::kMore:
          more = true;
          break;
        case HttpFraming::Step::kHead:
          break;
        case HttpFraming::Step::kWhole: {
          const HttpRequest request = framing.take_request();
          out.push_back(request.method + " " + request.path + " " + request.host + ":" +
                        request.body);
          break;
        }
        case HttpFraming::Step::kRefused:
          out.push_back(std::to_string(framing.refusal().status()) + " " +
                        framing.refusal().what());
          return out;
      }
    }
  }
  out.emplace_back("more");
  return out;
}

std::string head(const std::string& fields, const std::string& line = "POST / HTTP/1.1") {
  return line + "\r\n" + kHost + fields + "\r\n";
}
std::string chunked(const std::string& body) {
  return head("Transfer-Encoding: chunked\r\n") + body;
}

struct Refused {
  std::string text;
  int status;
  std::string words;  // of the reason
};

std::vector<Refused> refused_texts() {
  return {
      {head("Transfer-Encoding: xchunked\r\n"), 400, "Transfer-Encoding"},
      {head("Transfer-Encoding: identity\r\nContent-Length: 1\r\n"), 400, "codings"},
      {head("Transfer-Encoding: gzip, chunked\r\n"), 400, "Transfer-Encoding"},
      {head("Transfer-Encoding: chunked, chunked\r\n"), 400, "Transfer-Encoding"},
      {head("Transfer-Encoding: chunked;q=1\r\n"), 400, "Transfer-Encoding"},
      {head("Transfer-Encoding: \"chunked\"\r\n"), 400, "Transfer-Encoding"},
      {head("Transfer-Encoding:\r\n"), 400, "Transfer-Encoding"},
      {head("Transfer-Encoding: chunked\r\n", "POST / HTTP/1.0"), 400, "HTTP/1.0"},
      {head("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n"), 400, ""},
      {head("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), 400, ""},
      {head("Transfer-Encoding : chunked\r\n"), 400, ""},
      {head("Transfer\x80-Encoding: chunked\r\n"), 400, ""},
      {head("Content-Length: 5\r\nContent-Length: 6\r\n"), 400, ""},
      {head("Content-Length: 5, 6\r\n"), 400, ""},
      {head("Content-Length: 5,\r\n"), 400, ""},
      {head("Content-Length: +5\r\n"), 400, ""},
      {head("Content-Length: -5\r\n"), 400, ""},
      {head("Content-Length: 0x5\r\n"), 400, ""},
      {head("Content-Length: 5 5\r\n"), 400, ""},
      {head("Content-Length:\r\n"), 400, ""},
      {head("Content-Length: 18446744073709551617\r\n"), 400, ""},
      {head("Content-Length: 18446744073709551615\r\n"), 413, "100 bytes"},
      {head("Content-Length: 101\r\n"), 413, "100 bytes"},
      {head("X: a\r\n b\r\n"), 400, "white space"},
      {head("X: a\nY: b\r\n"), 400, "LF without"},
      {head("X: a\rY: b\r\n"), 400, "CR without"},
      {head(std::string("X: a") + '\0' + "b\r\n"), 400, "control"},
      {head("X: \x7f\r\n"), 400, "control"},
      {head("no colon\r\n"), 400, ""},
      {head(": no name\r\n"), 400, ""},
      {head("a(b): c\r\n"), 400, ""},
      {head("X: " + std::string(2000, 'x') + "\r\n"), 431, "1000 bytes"},
      {"\r\n" + head("", " GET / HTTP/1.1"), 400, "white space"},
      {head("", "GET /"), 400, ""},
      {head("", "GET  / HTTP/1.1"), 400, ""},
      {head("", "GET / HTTP/1.1 "), 400, ""},
      {head("", "GET / http/1.1"), 400, ""},
      {head("", "GET / HTTP/11"), 400, ""},
      {head("", "GET / HTTP/2.0"), 505, "HTTP/1.1"},
      {head("", "GET / HTTP/0.9"), 505, "HTTP/1.1"},
      {"GET / HTTP/1.2\r\n\r\n", 400, "Host"},
      {head("", "GET / HTTP/1.x"), 400, ""},
      {head("", "GET /\xc3\xa4 HTTP/1.1"), 400, "ASCII"},
      {head("", "G@T / HTTP/1.1"), 400, ""},
      {head("", "GET * HTTP/1.1"), 400, "OPTIONS"},
      {head("", "GET path HTTP/1.1"), 400, "target"},
      {head("", "GET ftp://a/ HTTP/1.1"), 400, "target"},
      {head("", "GET http:///x HTTP/1.1"), 400, "host"},
      {head("", "GET http://user@a/ HTTP/1.1"), 400, "host"},
      {head("", "CONNECT a:1 HTTP/1.1"), 501, "proxy"},
      {"GET / HTTP/1.1\r\n\r\n", 400, "Host"},
      {head("Host: t\r\n"), 400, "Host"},
      {head("Host: u\r\n", "GET / HTTP/1.0"), 400, "Host"},
      {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "Host"},
      {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "Host"},
      {"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400, "Host"},
      {"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400, "Host"},
      {"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400, "Host"},
      {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "Host"},
      {"GET / HTTP/1.1\r\nHost: [::g]\r\n\r\n", 400, "Host"},
      {"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", 400, "Host"},
      {head("Content-Encoding: gzip\r\nContent-Length: 1\r\n"), 415, "Content-Encoding"},
      {head("Content-Encoding: br\r\nTransfer-Encoding: chunked\r\n"), 415, "Content-Encoding"},
      {head("Expect: 200-maybe\r\n"), 417, "100-continue"},
      {head("Authorization: a\r\nAuthorization: b\r\n"), 400, "Authorization"},
      {head("X-Api-Key: a\r\nx-api-key: b\r\n"), 400, "X-Api-Key"},
      {head("Content-Type: a\r\nContent-Type: b\r\n"), 400, "Content-Type"},
      {chunked("xyz\r\n"), 400, "chunk"},
      {chunked("0x2\r\nab\r\n0\r\n\r\n"), 400, "hexadecimal"},
      {chunked("-2\r\n"), 400, "hexadecimal"},
      {chunked(" 2\r\n"), 400, "hexadecimal"},
      {chunked("\r\n"), 400, "hexadecimal"},
      {chunked("2 \r\nab\r\n"), 400, "hexadecimal"},
      {chunked("2\nab\r\n"), 400, "control"},
      {chunked("2\rab\r\n"), 400, "LF"},
      {chunked("2\r\nabX0\r\n"), 400, "longer"},
      {chunked("2\r\nab\rX0\r\n"), 400, "LF"},
      {chunked("2;\r\n"), 400, "extension"},
      {chunked("2;a=\r\n"), 400, "extension"},
      {chunked("2;a=\"b\r\n"), 400, "extension"},
      {chunked("2;a\n=b\r\n"), 400, "control"},
      {chunked("00000000000000002\r\n"), 400, "hexadecimal"},
      {chunked("ffffffffffffffff\r\n"), 413, "100 bytes"},
      {chunked("64\r\n" + std::string(100, 'x') + "\r\n1\r\n"), 413, "100 bytes"},
      {chunked("2;" + std::string(2000, 'a') + "\r\n"), 431, "extensions"},
      {chunked("0\r\nX\r\n\r\n"), 400, "field"},
      {chunked("0\r\nX : a\r\n\r\n"), 400, "field"},
      {chunked("0\r\n X: a\r\n\r\n"), 400, "white space"},
      {chunked("0\r\nX: a\n\r\n"), 400, "LF without"},
      {chunked("0\r\nX: " + std::string(2000, 'a')), 431, "1000 bytes"},
  };
}

TEST(HttpFraming, RefusesWhatCouldBeReadInTwoWays) {
  for (const auto& [text, status, words] : refused_texts()) {
    const std::vector<std::string> out = framed(text + "GET /inner HTTP/1.1\r\nHost: t\r\n\r\n");
    ASSERT_EQ(out.size(), 1U) << text;
    EXPECT_EQ(out[0].substr(0, 3), std::to_string(status)) << text << out[0];
    EXPECT_NE(out[0].find(words), std::string::npos) << text << out[0];
  }
}

TEST(HttpFraming, TakesWhatTheRfcAllows) {
  for (const auto& [text, request] : std::vector<std::pair<std::string, std::string>>{
           {head("", "GET /a?b=c#d HTTP/1.1"), "GET /a t:"},
           {"\r\n\r\n" + head("", "GET /a HTTP/1.1"), "GET /a t:"},
           {head("", "GET http://Other.Example:80/a?b HTTP/1.1"), "GET /a other.example:"},
           {head("", "GET HTTPS://[::1] HTTP/1.1"), "GET / ::1:"},
           {head("", "GET http://a?b HTTP/1.1"), "GET / a:"},
           {head("", "OPTIONS * HTTP/1.1"), "OPTIONS * t:"},
           {head("", "OPTIONS http://a HTTP/1.1"), "OPTIONS * a:"},
           {"GET / HTTP/1.0\r\n\r\n", "GET / :"},
           {"GET / HTTP/1.1\r\nHOST:\tT:8000 \r\n\r\n", "GET / t:"},
           {head("Content-Length: 2\r\nContent-Length: 2\r\n") + "ab", "POST / t:ab"},
           {head("Content-Length:  002 \r\n") + "ab", "POST / t:ab"},
           {head("Transfer-Encoding: Chunked\r\n") + "2\r\nab\r\n0\r\n\r\n", "POST / t:ab"},
           {chunked("1;a;b=c\r\na\r\n01 ;d=\"e\\\"\"\r\nb\r\n000\r\nX: y\r\nHost: z\r\n\r\n"),
            "POST / t:ab"},
           {head("X: \xc3\xa4\r\nEmpty:\r\n"), "POST / t:"},
           {head("Content-Encoding: gzip\r\n"), "POST / t:"},
           {head("Expect: 100-Continue\r\nContent-Length: 1\r\n") + "a", "POST / t:a"},
           {head("Expect: x\r\nContent-Length: 1\r\n", "POST / HTTP/1.0") + "a", "POST / t:a"},
           {head("Content-Type: a\r\nContent-Type: a\r\n"), "POST / t:"}}) {
    EXPECT_EQ(framed(text + head("", "GET /next HTTP/1.1")),
              (std::vector<std::string>{request, "GET /next t:", "more"}))
        << text;
  }
}

TEST(HttpFraming, ItMakesNoDifferenceHowTheBytesArrive) {
  const std::string good = head("Content-Length: 3\r\n") + "abc" +
                           chunked("2;x=\"y\"\r\nde\r\n1\r\nf\r\n0\r\nX: y\r\n\r\n") + "\r\n" +
                           head("", "GET /a HTTP/1.1");
  std::vector<std::string> texts{good + "GET"};
  for (const Refused& one : refused_texts()) texts.push_back(good + one.text + good);
  for (const std::string& text : texts) {
    const std::vector<std::string> whole = framed(text);
    EXPECT_GE(whole.size(), 4U);
    for (const size_t step : {1, 2, 3, 7, 64}) EXPECT_EQ(framed(text, step), whole) << text;
  }
}

TEST(HttpFraming, BytesBeforeARequestDoNotBeginIt) {
  HttpFraming framing(kHeaderBytes, kBodyBytes);
  framing.add("\r\n");
  EXPECT_EQ(framing.next(), HttpFraming::Step::kMore);
  EXPECT_FALSE(framing.begun());
  framing.add("G");
  EXPECT_EQ(framing.next(), HttpFraming::Step::kMore);
  EXPECT_TRUE(framing.begun());
}

}  // namespace
}  // namespace dak
