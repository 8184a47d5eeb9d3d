// Requests that wait for their turn: clients take turns, each client's requests come in order. Not
// for several threads at a time.
#pragma once

#include <deque>
#include <list>
#include <optional>
#include <unordered_map>
#include <vector>

#include "scheduler/scheduler.h"

namespace dak {

struct QueuedRequest {
  RequestId id = 0;
  ServingRequest request;
};

class ServingQueue {
 public:
  int64_t size() const { return size_; }

  void push(QueuedRequest request);
  // Whose turn it is: its client's next request comes after one of each other client that waits.
  // The queue is not empty.
  QueuedRequest pop();

  std::optional<QueuedRequest> remove(RequestId id);
  std::vector<QueuedRequest> remove_expired(std::chrono::steady_clock::time_point now);
  std::vector<QueuedRequest> remove_all();

 private:
  struct Client {
    std::string name;
    std::deque<QueuedRequest> requests;
  };

  // Requests for which `leaves` holds.
  template <typename Predicate>
  std::vector<QueuedRequest> take_out(const Predicate& leaves);

  std::list<Client> turns_;  // clients that wait, in the order of their turns
  std::unordered_map<std::string, std::list<Client>::iterator> clients_;
  int64_t size_ = 0;
};

}  // namespace dak
