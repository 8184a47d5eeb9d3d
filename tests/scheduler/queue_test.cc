#include "scheduler/queue.h"

#include <gtest/gtest.h>

namespace dak {
namespace {

using Clock = std::chrono::steady_clock;

QueuedRequest request(RequestId id, const std::string& client,
                      std::optional<Clock::time_point> deadline = {}) {
  QueuedRequest queued{.id = id};
  queued.request.client = client;
  queued.request.deadline = deadline;
  return queued;
}

std::vector<RequestId> drained(ServingQueue& queue) {
  std::vector<RequestId> order;
  while (queue.size() > 0) order.push_back(queue.pop().id);
  return order;
}

TEST(ServingQueue, ClientsTakeTurnsAndTheirRequestsComeInOrder) {
  ServingQueue queue;
  for (RequestId id = 1; id <= 4; ++id) queue.push(request(id, "a"));
  queue.push(request(5, "b"));
  queue.push(request(6, "c"));
  queue.push(request(7, "b"));
  EXPECT_EQ(queue.size(), 7);
  EXPECT_EQ(queue.pop().id, 1u);
  queue.push(request(8, "d"));  // after those who wait already
  EXPECT_EQ(drained(queue), (std::vector<RequestId>{5, 6, 2, 8, 7, 3, 4}));
  EXPECT_EQ(queue.size(), 0);
}

TEST(ServingQueue, RequestsCanBeTakenOut) {
  ServingQueue queue;
  const auto now = Clock::now();
  queue.push(request(1, "a"));
  queue.push(request(2, "a", now));
  queue.push(request(3, "b", now - std::chrono::seconds(1)));
  queue.push(request(4, "a", now + std::chrono::seconds(1)));
  queue.push(request(5, "c"));
  EXPECT_FALSE(queue.remove(9));
  EXPECT_EQ(queue.remove(1)->id, 1u);
  EXPECT_FALSE(queue.remove(1));
  std::vector<RequestId> expired;
  for (const QueuedRequest& late : queue.remove_expired(now)) expired.push_back(late.id);
  EXPECT_EQ(expired, (std::vector<RequestId>{2, 3}));
  EXPECT_EQ(queue.size(), 2);
  EXPECT_EQ(queue.remove_all().size(), 2u);
  EXPECT_EQ(queue.size(), 0);
  queue.push(request(6, "a"));
  EXPECT_EQ(drained(queue), (std::vector<RequestId>{6}));
}

}  // namespace
}  // namespace dak
