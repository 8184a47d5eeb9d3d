// A chat whose answer goes on with the assistant's last message, as continue_final_message of
// transformers: the prompt ends where that message's text does.
#pragma once

#include <string>

#include "text/chat_template.h"

namespace dak {

// Marks the end of the last message's text. Throws ApiError (400) where it has none.
void mark_last_message(ChatInput& input);

// What was rendered of marked input, up to the mark; less the white space that the template takes
// from the end of a message. Throws ApiError (400) where the template does not show the message.
std::string cut_at_mark(std::string rendered);

}  // namespace dak
