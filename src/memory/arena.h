// Arenas: where the bytes of one tier come from. Memory is given out in order and freed all at
// once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/math.h"
#include "memory/random_values.h"
#include "memory/tier.h"

namespace dak {

class Arena {
 public:
  virtual ~Arena() = default;

  // `size` bytes aligned to `kArenaAlignment`, zeroed; throws kResourceExhausted, naming the tier,
  // when the tier's capacity or the machine's memory would be exceeded.
  virtual std::byte* allocate(int64_t size_bytes) = 0;

  // Whether the CPU may write straight to what `allocate` gave; else bytes arrive through `write`.
  virtual bool host_writable() const { return true; }
  // Copies `bytes` to `at`, inside what `allocate` gave; in place on return. Any thread may call.
  virtual void write(std::byte* at, std::span<const std::byte> bytes);

  // Fills `at`, inside what `allocate` gave, with the numbers of random_values.h: the same bits
  // whichever arena. Any thread may call.
  virtual void fill_random(std::byte* at, const RandomValues& values);

  // Copies what lies at `at`, inside what `allocate` gave, to memory of the CPU.
  virtual void read(const std::byte* at, std::span<std::byte> bytes) const;

  // Frees all that `allocate` gave.
  virtual void release() = 0;

  virtual int64_t used_bytes() const = 0;
  virtual const Tier& tier() const = 0;
};

inline constexpr int64_t kArenaAlignment = 4096;

// What `bytes` take in an arena.
inline int64_t round_up_to_page(int64_t bytes) { return round_up(bytes, kArenaAlignment); }

// Host DRAM for any tier of the CPU backend, in huge pages where the system grants them and on the
// NUMA node that the tier names while that has any.
std::unique_ptr<Arena> make_cpu_arena(const Tier& tier);

// Throws kResourceExhausted, naming the tier, when `tier` cannot hold `need` beside `used`.
void check_capacity(const Tier& tier, int64_t used_bytes, int64_t need_bytes);

}  // namespace dak
