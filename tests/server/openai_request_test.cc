// Bodies of requests: what is read, and which complaint names which field.
#include "server/openai_request.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "text/exact_json.h"

namespace dak {
namespace {

const std::string kMessages = R"("messages":[{"role":"user","content":"hi"}])";

ChatRequest chat(const std::string& members, const RequestLimits& limits = {}) {
  return parse_chat_request("{" + members + (members.empty() ? "" : ",") + kMessages + "}", limits);
}
CompletionRequest completion(const std::string& members) {
  return parse_completion_request("{" + members + "}", {});
}

// The field that the refusal names; the status must be 400.
template <typename Parse>
std::string refused(const Parse& parse) {
  try {
    parse();
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status(), 400);
    EXPECT_FALSE(std::string(error.what()).empty());
    return error.param().empty() ? "body" : error.param();
  }
  return "nothing";
}
std::string chat_refusal(const std::string& members) {
  return refused([&] { chat(members); });
}

TEST(ChatRequestTest, DefaultsAreOpenAis) {
  const ChatRequest request = chat("");
  EXPECT_EQ(request.fields.sampling.temperature, 1.0f);
  EXPECT_EQ(request.fields.sampling.top_p, 1.0f);
  EXPECT_EQ(request.fields.max_tokens, std::nullopt);
  EXPECT_EQ(request.fields.n, 1);
  EXPECT_EQ(request.fields.top_logprobs, -1);
  EXPECT_FALSE(request.fields.seed_given);
  EXPECT_FALSE(request.fields.stream);
  EXPECT_EQ(request.tool_choice, ToolChoice::kAuto);
}

TEST(ChatRequestTest, ReadsEveryField) {
  const ChatRequest request = chat(
      R"("model":"m","temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.1,"presence_penalty":1,
         "frequency_penalty":-1,"repetition_penalty":1.5,"seed":-1,"n":3,"max_completion_tokens":7,
         "stop":["a","b"],"logprobs":true,"top_logprobs":5,"stream":true,"ignore_eos":true,
         "stream_options":{"include_usage":true},"user":"u","logit_bias":{},"metadata":{"k":"v"})");
  const SamplingParams& sampling = request.fields.sampling;
  EXPECT_EQ(request.fields.model, "m");
  EXPECT_EQ(sampling.temperature, 0.5f);
  EXPECT_EQ(sampling.top_p, 0.9f);
  EXPECT_EQ(sampling.top_k, 40);
  EXPECT_EQ(sampling.min_p, 0.1f);
  EXPECT_EQ(sampling.presence_penalty, 1.0f);
  EXPECT_EQ(sampling.frequency_penalty, -1.0f);
  EXPECT_EQ(sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(sampling.seed, UINT64_MAX);
  EXPECT_TRUE(request.fields.seed_given);
  EXPECT_EQ(request.fields.n, 3);
  EXPECT_EQ(request.fields.max_tokens, 7);
  EXPECT_EQ(request.fields.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(request.fields.top_logprobs, 5);
  EXPECT_TRUE(request.fields.stream && request.fields.include_usage && request.fields.ignore_eos);
}

TEST(ChatRequestTest, ZeroTopPIsTheMostLikelyTokenAlone) {
  EXPECT_GT(chat(R"("top_p":0)").fields.sampling.top_p, 0.0f);
  EXPECT_GT(chat(R"("top_p":1e-300)").fields.sampling.top_p, 0.0f);
}

TEST(ChatRequestTest, NullIsAbsent) {
  const ChatRequest request =
      chat(R"("stop":null,"seed":null,"tools":null,"max_tokens":null,"other":null)");
  EXPECT_TRUE(request.fields.stop.empty());
  EXPECT_FALSE(request.fields.seed_given);
}

TEST(ChatRequestTest, WrongValuesNameTheirField) {
  for (const auto& [members, field] : std::vector<std::pair<std::string, std::string>>{
           {R"("temperature":"1")", "temperature"},
           {R"("temperature":2.1)", "temperature"},
           {R"("temperature":-0.1)", "temperature"},
           {R"("top_p":1.5)", "top_p"},
           {R"("presence_penalty":3)", "presence_penalty"},
           {R"("n":0)", "n"},
           {R"("n":1025)", "n"},
           {R"("n":1.5)", "n"},
           {R"("n":99999999999999999999)", "n"},
           {R"("max_tokens":-2)", "max_tokens"},
           {R"("max_tokens":2.5)", "max_tokens"},
           {R"("max_tokens":1e300)", "max_tokens"},
           {R"("max_tokens":"2")", "max_tokens"},
           {R"("min_tokens":-1)", "min_tokens"},
           {R"("min_tokens":5,"max_tokens":4)", "min_tokens"},
           {R"("stop_token_ids":5)", "stop_token_ids"},
           {R"("stop_token_ids":[-5])", "stop_token_ids[0]"},
           {R"("prompt_logprobs":21)", "prompt_logprobs"},
           {R"("prompt_logprobs":1,"stream":true)", "prompt_logprobs"},
           {R"("continue_final_message":true)", "continue_final_message"},
           {R"("continue_final_message":1)", "continue_final_message"},
           {R"("add_generation_prompt":"no")", "add_generation_prompt"},
           {R"("max_tokens":3,"max_completion_tokens":4)", "max_completion_tokens"},
           {R"("seed":"x")", "seed"},
           {R"("seed":18446744073709551615)", "seed"},
           {R"("stop":[])", "nothing"},
           {R"("stop":[""])", "stop[0]"},
           {R"("stop":"")", "stop"},
           {R"("stop":[1])", "stop[0]"},
           {R"("stream":1)", "stream"},
           {R"("stream_options":{"include_usage":true})", "stream_options"},
           {R"("stream":true,"stream_options":{"x":1})", "stream_options.x"},
           {R"("logprobs":3)", "logprobs"},
           {R"("top_logprobs":3)", "top_logprobs"},
           {R"("logprobs":true,"top_logprobs":21)", "top_logprobs"},
           {R"("logit_bias":{"5":101})", "logit_bias.5"},
           {R"("logit_bias":{"5":"1"})", "logit_bias.5"},
           {R"("logit_bias":{"the":1})", "logit_bias"},
           {R"("logit_bias":{"5.0":1})", "logit_bias"},
           {R"("logit_bias":{"-5":1})", "logit_bias"},
           {R"("logit_bias":{"05":1,"5":2})", "logit_bias"},
           {R"("logit_bias":[[5,1]])", "logit_bias"},
           {R"("functions":[{}])", "functions"},
           {R"("modalities":["audio"])", "modalities[0]"},
           {R"("response_format":{"type":"xml"})", "response_format.type"},
           {R"("response_format":{"type":"json_schema"})", "response_format.json_schema"},
           {R"("response_format":{"type":"grammar","grammar":"x"})", "response_format.type"},
           {R"("response_format":{"type":"text","schema":{}})", "response_format.schema"},
           {R"("response_format":{"type":"json_object","strict":true})", "response_format.strict"},
           {R"("response_format":{"type":"json_object","schema":5})", "response_format.schema"},
           {R"("response_format":{"type":"json_schema","strict":true,"json_schema":{"schema":{}}})",
            "response_format.strict"},
           {R"("response_format":{"type":"json_schema","json_schema":{"schema":{},"x":1}})",
            "response_format.json_schema.x"},
           {R"("response_format":{"type":"json_schema","schema":{},"json_schema":{"schema":{}}})",
            "response_format.schema"},
           {R"("guided_choice":["a"])", "guided_choice"},
           {R"("guided_regex":"a")", "guided_regex"},
           {R"("grammar":"root ::= x")", "grammar"},
           {R"("guided_json":"{")", "guided_json"},
           {R"("structured_outputs":{"choice":["a"]})", "structured_outputs.choice"},
           {R"("json_schema":{},"response_format":{"type":"json_object"})", "json_schema"},
           {R"("reasoning_effort":"much")", "reasoning_effort"},
           {R"("enable_thinking":1)", "enable_thinking"},
           {R"("tool_choice":"required")", "tool_choice"},
           {R"("tools":[{"type":"web"}])", "tools[0].type"},
           {R"("tools":[{"type":"function","function":{"name":"a b"}}])", "tools[0].function.name"},
           {R"("chat_template_kwargs":{"messages":[]})", "chat_template_kwargs.messages"},
           {R"("model":5)", "model"}}) {
    EXPECT_EQ(chat_refusal(members), field) << members;
  }
}

// A schema holds wherever other servers take it.
TEST(ChatRequestTest, SchemasInEveryPlace) {
  const std::string schema = R"({"type":"object","properties":{"b":{},"a":{}}})";
  for (const auto& [members, param] : std::vector<std::pair<std::string, std::string>>{
           {R"("response_format":{"type":"json_schema","json_schema":{"name":"n","description":"d",
               "strict":true,"schema":SCHEMA}})",
            "response_format.json_schema.schema"},
           {R"("response_format":{"type":"json_schema","schema":SCHEMA})",
            "response_format.schema"},
           {R"("response_format":{"type":"json_object","schema":SCHEMA})",
            "response_format.schema"},
           {R"("response_format":{"type":"text"},"json_schema":SCHEMA)", "json_schema"},
           {R"("guided_json":SCHEMA,"guided_regex":null)", "guided_json"},
           {R"("guided_json":"{\"type\":\"object\",\"properties\":{\"b\":{},\"a\":{}}}")",
            "guided_json"},
           {R"("structured_outputs":{"json":SCHEMA,"regex":null})", "structured_outputs.json"}}) {
    std::string filled = members;
    if (const size_t at = filled.find("SCHEMA"); at != std::string::npos) {
      filled.replace(at, 6, schema);
    }
    const ResponseFormat format = chat(filled).format;
    EXPECT_EQ(format.kind, ResponseFormat::Kind::kJsonSchema) << members;
    EXPECT_EQ(format.schema.dump(), schema) << members;
    EXPECT_EQ(format.param, param);
  }
  for (const char* members : {R"("response_format":{"type":"json_object","schema":null})",
                              R"("structured_outputs":{"json_object":true})",
                              R"("response_format":{"type":"json_object"})"}) {
    EXPECT_EQ(chat(members).format.kind, ResponseFormat::Kind::kJsonObject) << members;
  }
  for (const char* members : {R"("response_format":null)", R"("response_format":{"type":"text"})",
                              R"("guided_json":null,"json_schema":null,"structured_outputs":{})"}) {
    EXPECT_EQ(chat(members).format.kind, ResponseFormat::Kind::kText) << members;
  }
}

TEST(ChatRequestTest, UnknownFieldsAreRefused) {
  EXPECT_EQ(chat_refusal(R"("temprature":1)"), "temprature");
  // Its name cannot break the line of an error.
  EXPECT_EQ(chat_refusal(R"("a\nb":1)"), "a\\x0ab");
}

TEST(ChatRequestTest, BodiesThatAreNoObjects) {
  std::string deep(100000, '[');
  const std::string nul("{\"a\":\0}", 7);
  for (const std::string& body :
       {std::string(), std::string("[]"), std::string("5"), std::string("{"), std::string("{}x"),
        std::string("\xff\xfe{}"), std::string("{\"messages\":\"\xc3\x28\"}"), nul, deep,
        std::string("{\"n\":1e999}"), std::string(R"({"messages":"\ud800"})")}) {
    EXPECT_EQ(refused([&] { parse_chat_request(body, {}); }), "body") << body.substr(0, 20);
    EXPECT_EQ(refused([&] { parse_completion_request(body, {}); }), "body");
  }
}

TEST(MessagesTest, PartsBecomeOneText) {
  const ChatRequest request = parse_chat_request(
      R"({"messages":[{"role":"developer","content":"s"},
          {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
          {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function",
            "function":{"name":"f","arguments":"{\"b\":1,\"a\":2}"}}]},
          {"role":"tool","tool_call_id":"1","content":"r"}]})",
      {});
  const OrderedJson& messages = request.input.messages;
  EXPECT_EQ(messages[0]["role"], "system");
  EXPECT_EQ(messages[1]["content"], "a\nb");
  EXPECT_EQ(messages[2]["content"], "");
  EXPECT_EQ(messages[2]["tool_calls"][0]["function"]["arguments"].dump(), R"({"b":1,"a":2})");
  EXPECT_EQ(messages[3]["tool_call_id"], "1");
}

// What servers answered and clients kept.
TEST(MessagesTest, HistoriesAreTaken) {
  const auto message = [](const std::string& members) {
    const std::string body = R"({"messages":[{"role":"assistant",)" + members + "}]}";
    return parse_chat_request(body, {}).input.messages[0];
  };
  const auto arguments = [&](const std::string& members) {
    const OrderedJson one = message(R"("tool_calls":[{"id":"c","type":"function","index":0,
        "extra_content":{"x":{}},"function":{"name":"f")" +
                                    members + "}}]");
    return exact_json_text(one.at("tool_calls")[0]["function"]["arguments"]);
  };
  for (const char* none : {"", R"(,"arguments":null)", R"(,"arguments":"")", R"(,"arguments":" ")",
                           R"(,"arguments":"null")", R"(,"arguments":{})"}) {
    EXPECT_EQ(arguments(none), "{}") << none;
  }
  for (const char* some : {R"(,"arguments":{"b":100000000000000000000,"a":[1]})",
                           R"(,"arguments":"{\"b\":100000000000000000000,\"a\":[1]}")"}) {
    EXPECT_EQ(arguments(some), R"({"b": 100000000000000000000, "a": [1]})");
  }
  EXPECT_EQ(arguments(R"(,"arguments":"no JSON")"), R"("no JSON")");

  EXPECT_EQ(message(R"("content":null,"refusal":null,"annotations":[],"audio":null,
      "function_call":null,"tool_calls":null,"name":null,"unknown":null)")
                .dump(),
            R"({"role":"assistant","content":""})");
  EXPECT_EQ(message(R"("provider_specific_fields":{"a":1},"cache_control":{"type":"x"},"id":"m",
      "reasoning_details":[{}],"thinking_blocks":[],"refusal":"No.")")["content"],
            "No.");
  for (const char* reasoning :
       {R"("content":"a","reasoning_content":"r")", R"("content":"a","reasoning":"r")",
        R"("content":"a","reasoning":"r","reasoning_content":"r")",
        R"("content":[{"type":"thinking","thinking":"r"},{"type":"text","text":"a"}])"}) {
    const OrderedJson one = message(reasoning);
    EXPECT_EQ(one["reasoning_content"], "r") << reasoning;
    EXPECT_EQ(one["content"], "a") << reasoning;
  }
  const ChatRequest old = parse_chat_request(
      R"({"messages":[{"role":"assistant","content":null,
          "function_call":{"name":"f","arguments":"{\"a\":1}"}},
          {"role":"function","name":"f","content":[{"type":"text","text":"r"}]},
          {"role":"tool","tool_call_id":"c","content":null}]})",
      {});
  EXPECT_EQ(old.input.messages[0]["tool_calls"][0]["function"]["arguments"].dump(), R"({"a":1})");
  EXPECT_EQ(old.input.messages[1].dump(), R"({"role":"tool","content":"r","name":"f"})");
  EXPECT_EQ(old.input.messages[2]["content"], "");
}

TEST(MessagesTest, WrongOnesNameTheirField) {
  for (const auto& [message, field] : std::vector<std::pair<std::string, std::string>>{
           {R"({"content":"x"})", "messages[0].role"},
           {R"({"role":"robot","content":"x"})", "messages[0].role"},
           {R"({"role":"user"})", "messages[0].content"},
           {R"({"role":"user","content":5})", "messages[0].content"},
           {R"({"role":"user","content":[{"type":"image_url"}]})", "messages[0].content[0].type"},
           {R"({"role":"user","content":"x","tool_calls":[]})", "messages[0].tool_calls"},
           {R"({"role":"user","content":"x","colour":1})", "messages[0].colour"},
           {R"({"role":"assistant","audio":{"id":"a"}})", "messages[0].audio"},
           {R"({"role":"assistant","tool_calls":[{"type":"custom"}]})",
            "messages[0].tool_calls[0].type"},
           {R"({"role":"assistant","tool_calls":[{"function":{}}]})",
            "messages[0].tool_calls[0].function.name"},
           {R"("hi")", "messages[0]"}}) {
    const std::string body = R"({"messages":[)" + message + "]}";
    EXPECT_EQ(refused([&] { parse_chat_request(body, {}); }), field) << message;
  }
  EXPECT_EQ(refused([] { parse_chat_request("{}", {}); }), "messages");
  EXPECT_EQ(refused([] { parse_chat_request(R"({"messages":[]})", {}); }), "messages");
  RequestLimits limits;
  limits.messages = 0;
  EXPECT_EQ(refused([&] { chat("", limits); }), "messages");
}

TEST(ToolsTest, KeepTheirOrderAndChoice) {
  const std::string tools =
      R"("tools":[{"type":"function","function":{"name":"f","parameters":{"z":1,"a":2}}}])";
  ChatRequest request = chat(tools);
  EXPECT_EQ(request.input.tools[0]["function"]["parameters"].dump(), R"({"z":1,"a":2})");
  request = chat(tools + R"(,"tool_choice":"none")");
  EXPECT_TRUE(request.input.tools.is_null());
  request = chat(tools + R"(,"tool_choice":{"type":"function","function":{"name":"f"}})");
  EXPECT_EQ(request.tool_choice, ToolChoice::kRequired);
  EXPECT_EQ(request.tool_name, "f");
  EXPECT_EQ(chat_refusal(tools + R"(,"tool_choice":{"type":"function","function":{"name":"g"}})"),
            "tool_choice.function.name");
}

TEST(ToolsTest, ObjectsOfVeryManyMembersAreRefused) {
  std::string members;
  for (int i = 0; i < 100000; ++i) members += fmt::format("{}\"k{}\":1", i > 0 ? "," : "", i);
  EXPECT_EQ(chat_refusal(R"("chat_template_kwargs":{)" + members + "}"), "body");
}

TEST(CompletionRequestTest, PromptsOfEveryKind) {
  EXPECT_EQ(completion(R"("prompt":"a")").prompts.size(), 1U);
  EXPECT_EQ(completion(R"("prompt":["a","b"])").prompts.size(), 2U);
  const CompletionRequest ids = completion(R"("prompt":[1,2,3])");
  EXPECT_EQ(std::get<std::vector<TokenId>>(ids.prompts.at(0)), (std::vector<TokenId>{1, 2, 3}));
  EXPECT_EQ(completion(R"("prompt":[[1,2],[3]])").prompts.size(), 2U);
  EXPECT_EQ(completion(R"("prompt":"a")").fields.max_tokens, 16);
  for (const char* bad : {R"("prompt":5)", R"("prompt":[])", R"("prompt":{})"}) {
    EXPECT_EQ(refused([&] { completion(bad); }), "prompt") << bad;
  }
  EXPECT_EQ(refused([] { completion(R"("prompt":[1,"a"])"); }), "prompt[1]");
  EXPECT_EQ(refused([] { completion(R"("prompt":[-1])"); }), "prompt[0]");
  EXPECT_EQ(refused([] { completion(R"("prompt":[4294967296])"); }), "prompt[0]");
  EXPECT_EQ(refused([] { completion(R"("prompt":["a","b","c"],"n":400)"); }), "prompt");
  EXPECT_EQ(completion(R"("prompt":["a","b","c"],"n":300)").fields.n, 300);
}

TEST(CompletionRequestTest, WhatCannotBeHonouredIsRefused) {
  EXPECT_EQ(refused([] { completion(R"("prompt":"a","suffix":"b")"); }), "suffix");
  EXPECT_EQ(refused([] { completion(R"("prompt":"a","best_of":3)"); }), "best_of");
  EXPECT_EQ(refused([] { completion(R"("prompt":"a","messages":[])"); }), "messages");
  EXPECT_EQ(completion(R"("prompt":"a","best_of":1,"logprobs":0)").fields.top_logprobs, 0);
}

TEST(RequestTest, NumbersOfTokensAreWholeHoweverTheyAreWritten) {
  EXPECT_EQ(chat(R"("max_tokens":2.0)").fields.max_tokens, 2);
  EXPECT_EQ(chat(R"("max_tokens":2e1)").fields.max_tokens, 20);
  EXPECT_EQ(chat(R"("max_tokens":0)").fields.max_tokens, 0);
  EXPECT_EQ(chat(R"("max_tokens":-1)").fields.max_tokens, std::nullopt);
  EXPECT_EQ(chat(R"("max_tokens":null)").fields.max_tokens, std::nullopt);
  EXPECT_EQ(chat(R"("max_completion_tokens":-1,"max_tokens":-1)").fields.max_tokens, std::nullopt);
  EXPECT_EQ(completion(R"("prompt":"a","max_tokens":-1)").fields.max_tokens, std::nullopt);
  EXPECT_EQ(completion(R"("prompt":"a","max_tokens":null)").fields.max_tokens, 16);
  EXPECT_EQ(completion(R"("prompt":"a","seed":3.0,"n":2.0)").fields.n, 2);
}

TEST(RequestTest, WhatIsNotSaidIsTheServers) {
  const RequestDefaults defaults{
      .sampling = {.temperature = 0.25f, .top_k = 7, .top_p = 0.5f, .repetition_penalty = 1.5f},
      .max_tokens = 99};
  const auto parsed = [&](const std::string& members) {
    return parse_chat_request(R"({"messages":[{"role":"user","content":"hi"}])" + members + "}", {},
                              defaults)
        .fields;
  };
  const GenerationFields plain = parsed("");
  EXPECT_EQ(plain.sampling.temperature, 0.25f);
  EXPECT_EQ(plain.sampling.top_k, 7);
  EXPECT_EQ(plain.sampling.top_p, 0.5f);
  EXPECT_EQ(plain.sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(plain.max_tokens, 99);
  const GenerationFields said =
      parsed(R"(,"temperature":1,"top_k":-1,"top_p":1,"repetition_penalty":1,"max_tokens":-1)");
  EXPECT_EQ(said.sampling.temperature, 1.0f);
  EXPECT_EQ(said.sampling.top_k, 0);
  EXPECT_EQ(said.sampling.top_p, 1.0f);
  EXPECT_EQ(said.sampling.repetition_penalty, 1.0f);
  EXPECT_EQ(said.max_tokens, std::nullopt);
  EXPECT_EQ(parse_completion_request(R"({"prompt":"a"})", {}, defaults).fields.max_tokens, 16);
}

TEST(RequestTest, TokenizeTakesATextOrMessages) {
  const auto refusal = [](const std::string& members) {
    return refused([&] { parse_tokenize_request("{" + members + "}", {}); });
  };
  const std::string messages = R"("messages":[{"role":"user","content":"hi"}])";
  EXPECT_EQ(refusal(R"("prompt":"a")"), "nothing");
  EXPECT_EQ(refusal(R"("prompt":"a","add_special_tokens":true)"), "nothing");
  EXPECT_EQ(refusal(messages), "nothing");
  EXPECT_EQ(refusal(messages + R"(,"add_generation_prompt":false,"add_special_tokens":false)"),
            "nothing");
  EXPECT_EQ(refusal(messages + R"(,"prompt":"a")"), "prompt");
  EXPECT_EQ(refusal(messages + R"(,"add_special_tokens":true)"), "add_special_tokens");
  EXPECT_EQ(refusal(R"("prompt":"a","continue_final_message":true)"), "continue_final_message");
  EXPECT_EQ(refusal(R"("prompt":"a","add_generation_prompt":true)"), "add_generation_prompt");
}

TEST(ApiErrorTest, SaysWhatOpenAiSays) {
  const auto json = nlohmann::json::parse(ApiError(404, "no \"model\"", "model", "gone").json());
  EXPECT_EQ(json["error"]["message"], "no \"model\"");
  EXPECT_EQ(json["error"]["type"], "not_found_error");
  EXPECT_EQ(json["error"]["param"], "model");
  EXPECT_EQ(json["error"]["code"], "gone");
  EXPECT_TRUE(nlohmann::json::parse(ApiError(400, "x").json())["error"]["param"].is_null());
  // Paths stay in the server.
  const Error inside(ErrorCode::kIo, {"/secret/path", "", "", "cannot be read", ""});
  EXPECT_EQ(api_error(inside).status(), 500);
  EXPECT_EQ(std::string(api_error(inside).what()).find("secret"), std::string::npos);
}

}  // namespace
}  // namespace dak
