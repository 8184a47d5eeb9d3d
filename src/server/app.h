// Routes: which request goes where, who may send it, and what the server says of itself.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/allowed_hosts.h"
#include "server/api_keys.h"
#include "server/cors_origins.h"
#include "server/http.h"
#include "server/metrics.h"
#include "server/service.h"
#include "server/state.h"
#include "server/worker.h"

namespace dak {

struct AppOptions {
  ApiKeys keys;                            // none: open to all that reach the port
  ApiKeys admin_keys = {};                 // for giving tiers back; none: nobody may
  std::optional<AllowedHosts> hosts = {};  // as which it may be asked; unset: as any
  CorsOrigins cors_origins = {};           // empty: other pages may not ask
  std::function<void(const std::string&)> log =
      {};  // a line for each answer; any thread; may be unset
};

class App {
 public:
  explicit App(AppOptions options);

  // The connection's thread: any of the server's. First the header: throws HttpRefusal (403) for a
  // host that is not allowed.
  void screen(const HttpRequest& request);
  void handle(HttpRequest request, const std::shared_ptr<Exchange>& exchange);
  static std::string refusal(int status, std::string_view reason);  // for HttpServer

  // Until then requests for the model are answered 503. `service` lives until after `stop`.
  void serve(const Service& service, const HttpServer* http);
  // No new requests for the model; those under way go on.
  void drain() { draining_ = true; }
  // After the server's threads have ended: nothing runs any more.
  void stop();

 private:
  using Prepare = PreparedAnswer (Service::*)(std::string_view, const Caller&) const;
  using Compute = std::string (Service::*)(std::string_view) const;

  HttpResponse answer_get(const std::string& path);
  HttpResponse health(bool live_only) const;
  HttpResponse model_list(const std::string& path) const;
  HttpResponse metrics_text();
  void answer_post(HttpRequest request, const std::shared_ptr<Exchange>& exchange, size_t key);
  void generate(Prepare prepare, HttpRequest request, const std::shared_ptr<Exchange>& exchange,
                const Caller& caller);
  void compute(Compute function, HttpRequest request, const std::shared_ptr<Exchange>& exchange);
  void revoke(HttpRequest request, const std::shared_ptr<Exchange>& exchange);
  // Whose request it is, by its place among the keys; 0 without keys. Throws ApiError (401, 403).
  size_t check_key(const HttpRequest& request) const;
  const Service& ready_service() const;  // throws ApiError (503)
  void add_headers(const HttpRequest& request, HttpResponse& response) const;
  void respond(const HttpRequest& request, Exchange& exchange, HttpResponse response);

  AppOptions options_;
  std::atomic<const Service*> service_ = nullptr;
  std::atomic<const HttpServer*> http_ = nullptr;
  std::atomic<bool> draining_ = false;
  ThreadMetrics metrics_;
  StateWatch watch_;
  std::atomic<bool> stopping_ = false;
  // Last: they use the others.
  Worker worker_{"dak parse"};    // waits for nothing
  Worker revoker_{"dak revoke"};  // waits for the engine
};

}  // namespace dak
