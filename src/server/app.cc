#include "server/app.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/json_text.h"
#include "server/page.h"
#include "server/revocation.h"

namespace dak {
namespace {

constexpr std::string_view kModels = "/v1/models";
constexpr std::string_view kGetRoutes[] = {
    "/", "/health", "/health/live", "/health/ready", "/metrics", "/favicon.ico", "/state", kModels};
constexpr std::string_view kRevoke = "/tiers/revoke";
constexpr std::string_view kPostRoutes[] = {"/v1/chat/completions", "/v1/completions",
                                            "/v1/embeddings",       "/tokenize",
                                            "/detokenize",          kRevoke};

// What says nothing of the model or of others' requests.
constexpr std::string_view kOpenRoutes[] = {"/", "/health", "/health/live", "/health/ready",
                                            "/favicon.ico"};

template <typename Range>
bool among(const Range& known, std::string_view one) {
  return std::ranges::find(known, one) != std::end(known);
}

bool is_get(const std::string& path) {
  return among(kGetRoutes, path) || path.starts_with(std::string(kModels) + "/");
}

HttpResponse error_response(const ApiError& error) {
  HttpResponse response{.status = error.status()};
  if (error.status() == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (error.status() == 503) response.headers.emplace_back("Retry-After", "1");
  response.body = error.json();
  return response;
}

// "%2F" is a slash: names of models have some.
std::string percent_decoded(std::string_view text) {
  std::string out;
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 &&
        digit(text[i + 2]) >= 0) {
      out += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

void check_content_type(const HttpRequest& request) {
  // A page of another site can make a browser send other types without asking first.
  std::string type = request.content_type.substr(0, request.content_type.find(';'));
  std::ranges::transform(type, type.begin(), [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
  while (!type.empty() && type.back() == ' ') type.pop_back();
  if (type != "application/json") {
    throw ApiError(415, "the header must say Content-Type: application/json");
  }
}

}  // namespace

App::App(AppOptions options) : options_(std::move(options)) {}

std::string App::refusal(int status, std::string_view reason) {
  return ApiError(status, std::string(reason)).json();
}

void App::serve(const Service& service, const HttpServer* http) {
  http_ = http;
  service_ = &service;
}

const Service& App::ready_service() const {
  const Service* service = service_;
  if (draining_) throw ApiError(503, "the server is shutting down", {}, "unavailable");
  if (service == nullptr) throw ApiError(503, "the model is loading", {}, "unavailable");
  return *service;
}

void App::add_headers(const HttpRequest& request, HttpResponse& response) const {
  response.headers.emplace_back("X-Content-Type-Options", "nosniff");
  if (options_.cors_origins.empty()) return;
  response.headers.emplace_back("Vary", "Origin");
  const std::string allowed = options_.cors_origins.allowed(request.origin);
  if (!allowed.empty()) response.headers.emplace_back("Access-Control-Allow-Origin", allowed);
}

void App::respond(const HttpRequest& request, Exchange& exchange, HttpResponse response) {
  const bool known = is_get(request.path) || among(kPostRoutes, request.path);
  std::string route = known ? request.path : "other";
  if (route.starts_with(kModels)) route = kModels;
  metrics_.mine().count_request(route, response.status);
  add_headers(request, response);
  exchange.respond(std::move(response));
}

void App::screen(const HttpRequest& request) {
  if (!options_.hosts || options_.hosts->allow(request.host)) return;
  metrics_.mine().count_request("other", 403);
  throw HttpRefusal(403,
                    fmt::format("the Host '{}' is not allowed: a page of another site could ask "
                                "by that name; dak serve --allowed-host NAME allows one",
                                printable(request.host)));
}

void App::handle(HttpRequest request, const std::shared_ptr<Exchange>& exchange) {
  try {
    if (request.path == "*") {  // of OPTIONS: about the server, not a resource
      HttpResponse response{.status = 204};
      response.headers = {{"Allow", "GET, HEAD, POST, OPTIONS"}};
      return respond(request, *exchange, std::move(response));
    }
    const bool get = is_get(request.path);
    if (!get && !among(kPostRoutes, request.path)) {
      throw ApiError(404, fmt::format("there is no {}", printable(request.path)), {}, "not_found");
    }
    if (request.method == "OPTIONS" && !options_.cors_origins.empty()) {
      HttpResponse response{.status = 204};
      response.headers = {
          {"Access-Control-Allow-Methods", "GET, POST"},
          {"Access-Control-Allow-Headers", "authorization, content-type, x-api-key, *"},
          {"Access-Control-Max-Age", "600"}};
      return respond(request, *exchange, std::move(response));
    }
    const bool head = request.method == "HEAD";
    if (request.method != (get ? "GET" : "POST") && !(get && head)) {
      HttpResponse response = error_response(
          {405, fmt::format("{} takes {} alone", printable(request.path), get ? "GET" : "POST")});
      response.headers.emplace_back("Allow", get ? "GET, HEAD" : "POST");
      return respond(request, *exchange, std::move(response));
    }
    const size_t key = check_key(request);
    if (get) return respond(request, *exchange, answer_get(request.path));
    answer_post(std::move(request), exchange, key);
  } catch (const ApiError& error) {
    respond(request, *exchange, error_response(error));
  }
}

size_t App::check_key(const HttpRequest& request) const {
  const auto wrong = [] {
    return ApiError(
        401,
        "the API key is missing or wrong; send Authorization: Bearer KEY, or X-Api-Key: "
        "KEY",
        {}, "invalid_api_key");
  };
  const auto key_given = [&request] {
    const std::optional<std::string_view> given = given_key(request.authorization, request.api_key);
    if (given) return *given;
    throw ApiError(401, "Authorization and X-Api-Key hold two different keys; send one", {},
                   "invalid_api_key");
  };
  if (request.path == kRevoke) {
    if (options_.admin_keys.empty()) {
      throw ApiError(403, "nobody may give tiers back: dak serve has no --admin-key-file", {},
                     "forbidden");
    }
    const std::string_view given = key_given();
    if (options_.admin_keys.find(given)) return 0;
    if (options_.keys.find(given)) {
      throw ApiError(403, "this key may not give tiers back; send one of --admin-key-file", {},
                     "forbidden");
    }
    throw wrong();
  }
  if (options_.keys.empty() || among(kOpenRoutes, request.path)) return 0;
  const std::optional<size_t> key = options_.keys.find(key_given());
  if (!key) throw wrong();
  return *key;
}

HttpResponse App::answer_get(const std::string& path) {
  if (path == "/") {
    HttpResponse page{.content_type = "text/html; charset=utf-8", .body = std::string(page_html())};
    page.headers = {
        {"Content-Security-Policy",
         "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src "
         "'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
         "frame-ancestors 'none'"},
        {"Cache-Control", "no-cache"},
        {"Referrer-Policy", "no-referrer"}};
    return page;
  }
  if (path == "/favicon.ico") return {.status = 204};
  if (path == "/health" || path == "/health/ready") return health(false);
  if (path == "/health/live") return health(true);
  if (path == "/metrics") {
    const HttpServer* http = http_;
    Metrics total;
    metrics_.sum_to(total);
    return {.content_type = "text/plain; version=0.0.4; charset=utf-8",
            .body = dak::metrics_text(
                service_, total,
                http != nullptr ? std::optional(http->counters()) : std::optional<HttpCounters>())};
  }
  if (path == "/state") {
    const Service* service = service_;
    if (service == nullptr) throw ApiError(503, "the model is loading", {}, "unavailable");
    Metrics total;
    metrics_.sum_to(total);
    return {.headers = {{"Cache-Control", "no-store"}},
            .body = watch_.json(*service, total, draining_)};
  }
  return model_list(path);
}

HttpResponse App::health(bool live_only) const {
  const std::string_view state = draining_                    ? "draining"
                                 : service_.load() == nullptr ? "loading"
                                                              : "ready";
  return {.status = live_only || state == "ready" ? 200 : 503,
          .body = fmt::format(R"({{"status":"{}"}})", state)};
}

HttpResponse App::model_list(const std::string& path) const {
  const Service* service = service_;
  if (service == nullptr) throw ApiError(503, "the model is loading", {}, "unavailable");
  const auto model = [&](const std::string& name) {
    return fmt::format(
        R"({{"id":{},"object":"model","created":0,"owned_by":"dak","max_model_len":{}}})",
        json_string(name), service->engine().context());
  };
  if (path == kModels) {
    std::string list;
    for (const std::string& name : service->names())
      list += (list.empty() ? "" : ",") + model(name);
    return {.body = R"({"object":"list","data":[)" + list + "]}"};
  }
  const std::string wanted = percent_decoded(std::string_view(path).substr(kModels.size() + 1));
  if (!among(service->names(), wanted)) {
    throw ApiError(404, fmt::format("the model '{}' is not here", printable(wanted)), "model",
                   "model_not_found");
  }
  return {.body = model(wanted)};
}

void App::answer_post(HttpRequest request, const std::shared_ptr<Exchange>& exchange, size_t key) {
  const Service& service = ready_service();
  if (request.path == "/v1/embeddings") {
    throw ApiError(
        501,
        fmt::format("the model '{}' generates text: dak has no embedding models", service.name()),
        {}, "unsupported");
  }
  check_content_type(request);
  // With keys, neither turns nor cached prefixes are shared between them.
  const bool keys = !options_.keys.empty();
  const Caller caller{.client = keys ? fmt::format("key {}", key) : request.peer,
                      .prefix_scope = keys ? fmt::format("key {}", key) : std::string(),
                      .received = request.received};
  if (request.path == "/v1/chat/completions") {
    generate(&Service::chat, std::move(request), exchange, caller);
  } else if (request.path == "/v1/completions") {
    generate(&Service::completion, std::move(request), exchange, caller);
  } else if (request.path == kRevoke) {
    revoke(std::move(request), exchange);
  } else if (request.path == "/tokenize") {
    compute(&Service::tokenize, std::move(request), exchange);
  } else {
    compute(&Service::detokenize, std::move(request), exchange);
  }
}

void App::stop() {
  stopping_ = true;
  revoker_.stop();
  worker_.stop();
}

// Runs `work` on a worker's thread; what it throws is answered. `request` is shared because
// std::function copies.
template <typename Work>
static std::function<void()> guarded(std::shared_ptr<Exchange> exchange, Work work,
                                     std::function<void(HttpResponse)> answer) {
  return [exchange = std::move(exchange), work = std::move(work), answer = std::move(answer)] {
    HttpResponse response;
    try {
      return work();
    } catch (const ApiError& error) {
      response = error_response(error);
    } catch (const Error& error) {
      response = error_response(api_error(error));
    } catch (const std::bad_alloc&) {
      response = error_response({503, "the server is out of memory"});
    } catch (const std::exception&) {
      response = error_response({500, "the server failed on this request", {}, "internal"});
    }
    exchange->post([answer, response = std::move(response)] { answer(response); });
  };
}

void App::generate(Prepare prepare, HttpRequest request, const std::shared_ptr<Exchange>& exchange,
                   const Caller& caller) {
  auto shared = std::make_shared<HttpRequest>(std::move(request));
  auto work = [this, prepare, shared, exchange, caller] {
    const Service& service = ready_service();
    PreparedAnswer prepared = (service.*prepare)(shared->body, caller);
    shared->body = {};
    shared->body_lease.reset();
    HttpResponse head;
    add_headers(*shared, head);
    prepared.options.headers = std::move(head.headers);
    prepared.options.headers.emplace_back("X-Request-Id", prepared.writer.id());
    std::function<void(const AnswerReport&)> report;
    if (options_.log) {
      report = [this, id = prepared.writer.id(), peer = shared->peer](const AnswerReport& said) {
        options_.log(fmt::format(
            "{} {} {} {} prompt {} (cached {}) answer {} first {:.3f} s all {:.3f} s", peer,
            said.route, said.status, id, said.usage.prompt_tokens, said.usage.cached_tokens,
            said.usage.completion_tokens, said.first_token_s, said.seconds));
      };
    }
    const auto answer =
        std::make_shared<Answer>(std::move(prepared.writer), std::move(prepared.options), exchange,
                                 service.generator(), metrics_, caller.received, std::move(report));
    answer->start(std::move(prepared.requests));
  };
  worker_.add(
      guarded(exchange, std::move(work), [this, shared, exchange](const HttpResponse& response) {
        respond(*shared, *exchange, response);
      }));
}

void App::compute(Compute function, HttpRequest request,
                  const std::shared_ptr<Exchange>& exchange) {
  auto shared = std::make_shared<HttpRequest>(std::move(request));
  auto work = [this, function, shared, exchange] {
    HttpResponse response{.body = (ready_service().*function)(shared->body)};
    exchange->post([this, shared, exchange, response] { respond(*shared, *exchange, response); });
  };
  worker_.add(
      guarded(exchange, std::move(work), [this, shared, exchange](const HttpResponse& response) {
        respond(*shared, *exchange, response);
      }));
}

void App::revoke(HttpRequest request, const std::shared_ptr<Exchange>& exchange) {
  auto shared = std::make_shared<HttpRequest>(std::move(request));
  auto work = [this, shared, exchange] {
    const std::string body = std::exchange(shared->body, {});
    shared->body_lease.reset();
    HttpResponse response{.body = revoke_tier(ready_service(), body, stopping_)};
    exchange->post([this, shared, exchange, response] { respond(*shared, *exchange, response); });
  };
  revoker_.add(
      guarded(exchange, std::move(work), [this, shared, exchange](const HttpResponse& response) {
        respond(*shared, *exchange, response);
      }));
}

}  // namespace dak
