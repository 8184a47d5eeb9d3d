// What brings out a KV page that is copied before it was written, or read before its copy was made:
// pages that begin as NaN, and moves that take long and are told of late.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "engine/kv_cache.h"
#include "memory/arena.h"
#include "model/config.h"
#include "ops/page_mover.h"

namespace dak::test {

// NaN in every page of an empty cache. `arenas`: by tier.
inline void poison_pages(KvCache& cache, const ModelConfig& config,
                         std::span<Arena* const> arenas) {
  KvHold all;
  cache.reserve(all, cache.page_count() * kPageTokens);
  const AttentionConfig page{
      .kv_heads = config.kv_heads, .head_size = config.head_size, .kv_dtype = cache.dtype()};
  const std::vector<std::byte> nan(static_cast<size_t>(page.page_bytes()), std::byte{0xff});
  cache.finish_moves();
  for (const auto& layer : all.pages) {
    for (const KvPage& place : layer) arenas[place.tier]->write(place.data, nan);
  }
}

// Another mover's copies, each batch of them behind one of 16 MiB over the link (0.3 ms over PCIe
// 5, several steps of a tiny model), and told of two passes after they were asked for at the
// earliest.
class LateMover final : public PageMover {
 public:
  // `local`, `remote`: where the copy ahead goes from and to. All outlive this.
  LateMover(PageMover& mover, Arena& local, Arena& remote)
      : mover_(mover), to_(local.allocate(kBytes)), from_(remote.allocate(kBytes)) {}

  // Before each pass.
  void next_pass() {
    told_ = before_last_;
    before_last_ = marked_;
  }

  void copy(std::byte* to, const std::byte* from, int64_t size_bytes) override {
    if (!batch_open_) mover_.copy(to_, from_, kBytes);
    batch_open_ = true;
    mover_.copy(to, from, size_bytes);
  }
  int64_t mark() override {
    batch_open_ = false;
    return marked_ = mover_.mark();
  }
  int64_t passed() override { return std::min(told_, mover_.passed()); }
  void hold_steps() override {
    batch_open_ = false;
    mover_.hold_steps();
  }
  void wait() override {
    batch_open_ = false;
    mover_.wait();
  }

 private:
  static constexpr int64_t kBytes = int64_t{16} << 20;
  PageMover& mover_;
  std::byte* to_;
  std::byte* from_;
  int64_t marked_ = 0;
  int64_t before_last_ = 0;
  int64_t told_ = 0;
  bool batch_open_ = false;
};

}  // namespace dak::test
