// The input is what a connection receives. Its first byte chooses how the rest is cut into reads:
// the same requests must come out as of one read, and after a refusal none.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "server/http_framing.h"

namespace {

constexpr int64_t kHeaderBytes = 2000;
constexpr int64_t kBodyBytes = 500;

void must(bool condition) {
  if (!condition) std::abort();
}

std::string text_of(const dak::HttpHead& head, const dak::HttpRequest& request) {
  std::string text = std::to_string(head.version) + (head.keep_alive ? "k" : "c");
  for (const std::string* field :
       {&request.method, &request.path, &request.host, &request.authorization, &request.api_key,
        &request.origin, &request.content_type, &request.body}) {
    text += "|" + *field;
  }
  return text;
}

// All steps after `bytes`; whether there may be more.
bool take(dak::HttpFraming& framing, std::string_view bytes, std::vector<std::string>& out) {
  using Step = dak::HttpFraming::Step;
  framing.add(bytes);
  bool head_read = false;
  while (true) {
    const Step step = framing.next();
    if (step == Step::kMore) return true;
    if (step == Step::kRefused) {
      out.push_back(std::to_string(framing.refusal().status()) + framing.refusal().what());
      framing.add("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      must(framing.next() == Step::kRefused);
      return false;
    }
    if (step == Step::kHead) {
      must(!head_read);
      head_read = true;
      continue;
    }
    const dak::HttpHead head = framing.head();
    head_read = false;
    must(std::ssize(head.request.body) <= kBodyBytes);
    must(head.version < 11 || !head.request.host.empty());
    must(head.chunked || head.request.body.size() == head.content_length);
    out.push_back(text_of(head, framing.take_request()));
  }
}

std::vector<std::string> requests(std::string_view bytes, size_t step) {
  dak::HttpFraming framing(kHeaderBytes, kBodyBytes);
  std::vector<std::string> out;
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, step);
    bytes.remove_prefix(piece.size());
    if (!take(framing, piece, out)) break;
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::vector<std::string> whole = requests(bytes, bytes.size());
  must(requests(bytes, 1) == whole);
  must(requests(bytes, 1 + data[0]) == whole);
  return 0;
}
