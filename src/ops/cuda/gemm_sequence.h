// GEMMs with remote row blocks in the order of a step. A step runs once before steps like it are
// recorded: so each of their kernels can be told which GEMMs come behind it, and fetch for them.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/gemm.h"

namespace dak::cuda {

class GemmSequence {
 public:
  // Notes what is launched meanwhile, in place of what was noted before.
  class Listening {
   public:
    explicit Listening(GemmSequence& sequence);
    ~Listening();
    Listening(const Listening&) = delete;
    Listening& operator=(const Listening&) = delete;

   private:
    GemmSequence& sequence_;
  };
  // The same comes again meanwhile, to be recorded; the workspace and the weights stay where they
  // are.
  class Following {
   public:
    explicit Following(GemmSequence& sequence);
    ~Following();
    Following(const Following&) = delete;
    Following& operator=(const Following&) = delete;

    // Throws kInternal if less came than was noted: a kernel has fetched for a GEMM that never
    // takes it.
    void check_complete() const;

   private:
    GemmSequence& sequence_;
  };
  // The weights are gone.
  void forget() { weights_.clear(); }

  // For GemmArgs::ahead of a GEMM of `weight`, which is the next launch.
  std::array<GemmFeed, kGemmAhead> behind(const GemmWeight& weight,
                                          const GemmWorkspace& workspace) const;
  // For another kernel.
  std::array<GemmFeed, kGemmAhead> next(const GemmWorkspace& workspace) const;
  // A GEMM of `weight` has been launched. Throws kInternal if another was noted.
  void launched(const GemmWeight& weight);

 private:
  enum class State : uint8_t { kOff, kListening, kFollowing };
  std::array<GemmFeed, kGemmAhead> feeds(const GemmWorkspace& workspace, unsigned from,
                                         unsigned end) const;

  State state_ = State::kOff;
  std::vector<const GemmWeight*> weights_;
  size_t at_ = 0;
};

}  // namespace dak::cuda
