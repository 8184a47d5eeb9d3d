// Other people's templates, which `make test` fetches and has transformers render: byte for byte
// the same.
#include "template_goldens.h"

namespace dak {
namespace {

TEST_F(ChatTemplateTest, OtherPeoplesTemplatesRenderAsTransformersDoes) {
  expect_goldens(DAK_CHAT_TEMPLATES, 71);
}

}  // namespace
}  // namespace dak
