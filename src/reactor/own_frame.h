// own_frame.h: for what a coroutine calls that spends its life waiting.
#pragma once

// Keeps a function or coroutine out of line. The compiler puts what it inlines into the caller's frame, and what waits
// for hours would carry the room for what it did at its start, or does when something comes.
#define KEDGE_OWN_FRAME [[gnu::noinline]]
