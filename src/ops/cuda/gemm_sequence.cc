#include "ops/cuda/gemm_sequence.h"

#include "base/error.h"

namespace dak::cuda {

GemmSequence::Listening::Listening(GemmSequence& sequence) : sequence_(sequence) {
  sequence_.weights_.clear();
  sequence_.state_ = State::kListening;
}

GemmSequence::Listening::~Listening() { sequence_.state_ = State::kOff; }

GemmSequence::Following::Following(GemmSequence& sequence) : sequence_(sequence) {
  sequence_.state_ = State::kFollowing;
  sequence_.at_ = 0;
}

GemmSequence::Following::~Following() { sequence_.state_ = State::kOff; }

void GemmSequence::Following::check_complete() const {
  require(sequence_.at_ == sequence_.weights_.size(),
          "a recorded step has fewer products than the one before it");
}

std::array<GemmFeed, kGemmAhead> GemmSequence::behind(const GemmWeight& weight,
                                                      const GemmWorkspace& workspace) const {
  if (weight.schedule().remote_blocks == 0) return next(workspace);
  return feeds(workspace, 1, kGemmAhead);
}

std::array<GemmFeed, kGemmAhead> GemmSequence::next(const GemmWorkspace& workspace) const {
  return feeds(workspace, 0, kGemmAhead);
}

std::array<GemmFeed, kGemmAhead> GemmSequence::feeds(const GemmWorkspace& workspace, unsigned from,
                                                     unsigned end) const {
  std::array<GemmFeed, kGemmAhead> found{};
  if (state_ != State::kFollowing) return found;
  for (unsigned i = from; i < end && at_ + i < weights_.size(); ++i) {
    found[i - from] = weights_[at_ + i]->feed(workspace.half_of_next(i));
  }
  return found;
}

void GemmSequence::launched(const GemmWeight& weight) {
  if (state_ == State::kOff || weight.schedule().remote_blocks == 0) return;
  if (state_ == State::kListening) return weights_.push_back(&weight);
  require(at_ < weights_.size() && weights_[at_] == &weight,
          "a recorded step has other products than the one before it");
  ++at_;
}

}  // namespace dak::cuda
