#include "scheduler/queue.h"

#include <algorithm>

namespace dak {

void ServingQueue::push(QueuedRequest request) {
  const std::string& name = request.request.client;
  auto found = clients_.find(name);
  if (found == clients_.end()) {
    turns_.push_back({.name = name, .requests = {}});
    found = clients_.emplace(name, std::prev(turns_.end())).first;
  }
  found->second->requests.push_back(std::move(request));
  ++size_;
}

QueuedRequest ServingQueue::pop() {
  Client& client = turns_.front();
  QueuedRequest request = std::move(client.requests.front());
  client.requests.pop_front();
  --size_;
  if (client.requests.empty()) {
    clients_.erase(client.name);
    turns_.pop_front();
  } else {
    turns_.splice(turns_.end(), turns_, turns_.begin());
  }
  return request;
}

template <typename Predicate>
std::vector<QueuedRequest> ServingQueue::take_out(const Predicate& leaves) {
  std::vector<QueuedRequest> taken;
  for (auto client = turns_.begin(); client != turns_.end();) {
    std::deque<QueuedRequest>& requests = client->requests;
    const auto kept =
        std::stable_partition(requests.begin(), requests.end(),
                              [&](const QueuedRequest& request) { return !leaves(request); });
    std::move(kept, requests.end(), std::back_inserter(taken));
    requests.erase(kept, requests.end());
    if (requests.empty()) {
      clients_.erase(client->name);
      client = turns_.erase(client);
    } else {
      ++client;
    }
  }
  size_ -= std::ssize(taken);
  return taken;
}

std::optional<QueuedRequest> ServingQueue::remove(RequestId id) {
  std::vector<QueuedRequest> taken =
      take_out([id](const QueuedRequest& request) { return request.id == id; });
  if (taken.empty()) return std::nullopt;
  return std::move(taken.front());
}

std::vector<QueuedRequest> ServingQueue::remove_expired(std::chrono::steady_clock::time_point now) {
  return take_out([now](const QueuedRequest& request) {
    return request.request.deadline && *request.request.deadline <= now;
  });
}

std::vector<QueuedRequest> ServingQueue::remove_all() {
  return take_out([](const QueuedRequest&) { return true; });
}

}  // namespace dak
