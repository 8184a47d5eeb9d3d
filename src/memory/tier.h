// Tiers: the memories a kernel can read. Code handles N of them and never assumes two.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace dak {

// Position in a plan's list of tiers. By convention 0 is the fastest, `local`.
using TierIndex = uint8_t;
inline constexpr int kMaxTiers = 8;

enum class TierKind : uint8_t {
  kLocal,  // the device's own memory: HBM, or ordinary DRAM on the CPU backend
  kPeer,   // another GPU's HBM over NVLink
  kHost,   // host DRAM, a NUMA or CXL node, over PCIe or C2C
};

std::string_view name(TierKind kind);

struct Tier {
  std::string name;  // "local", "host", "host:1", "peer:1"
  TierKind kind = TierKind::kLocal;
  int node = -1;                // NUMA node or GPU ordinal; -1: any
  int64_t capacity_bytes = 0;   // what dak may use of it
  double read_bytes_per_s = 0;  // measured; 0: not measured yet
  // Tiers on one channel share its bandwidth, so their times add instead of overlapping: on the
  // CPU backend `local` and `host` are the same DRAM.
  std::string channel;
};

// Bytes read from each tier, by index.
struct TierTraffic {
  std::array<int64_t, kMaxTiers> read_bytes{};
  std::array<int64_t, kMaxTiers> kv_bytes{};  // among them, of the KV cache

  void add(TierIndex tier, int64_t bytes) { read_bytes[tier] += bytes; }
  void add_kv(TierIndex tier, int64_t bytes) {
    add(tier, bytes);
    kv_bytes[tier] += bytes;
  }
  void add_all(const TierTraffic& other) {
    for (size_t i = 0; i < read_bytes.size(); ++i) {
      read_bytes[i] += other.read_bytes[i];
      kv_bytes[i] += other.kv_bytes[i];
    }
  }
  int64_t total_bytes() const {
    int64_t total = 0;
    for (const int64_t bytes : read_bytes) total += bytes;
    return total;
  }
};

}  // namespace dak
