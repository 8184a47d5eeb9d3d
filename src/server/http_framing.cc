#include "server/http_framing.h"

#include <fmt/core.h>

#include <algorithm>

namespace dak {

HttpFraming::Step HttpFraming::next() {
  try {
    if (part_ == Part::kHeader) return read_header();
    if (part_ == Part::kBody) return read_body();
  } catch (const HttpRefusal& refusal) {
    refusal_ = refusal;
    part_ = Part::kRefused;
    bytes_.clear();
    at_ = 0;
  }
  return Step::kRefused;
}

HttpFraming::Step HttpFraming::read_header() {
  bool whole = false;
  while (at_ < bytes_.size() && !whole) whole = scan_.take(bytes_[at_++]);
  if (!whole) return Step::kMore;
  const auto blank = static_cast<size_t>(scan_.blank_bytes());
  head_ = parse_http_head(std::string_view(bytes_).substr(blank, at_ - blank));
  if (head_->content_length > static_cast<uint64_t>(body_bytes_)) {
    throw HttpRefusal(413, fmt::format("the body is longer than {} bytes", body_bytes_));
  }
  chunks_.reset();
  if (head_->chunked) chunks_.emplace(body_bytes_, header_bytes_);
  drop_read();
  part_ = Part::kBody;
  return Step::kHead;
}

HttpFraming::Step HttpFraming::read_body() {
  std::string& body = head_->request.body;
  if (chunks_) {
    at_ += chunks_->take(std::string_view(bytes_).substr(at_), body);
  } else {
    const size_t left = head_->content_length - body.size();
    const size_t count = std::min(left, bytes_.size() - at_);
    body.append(bytes_, at_, count);
    at_ += count;
  }
  drop_read();
  if (chunks_ ? !chunks_->done() : body.size() < head_->content_length) return Step::kMore;
  scan_ = HeaderScan(HeaderScan::Begin::kRequestLine, header_bytes_);
  part_ = Part::kHeader;
  return Step::kWhole;
}

void HttpFraming::drop_read() {
  bytes_.erase(0, at_);
  at_ = 0;
}

}  // namespace dak
