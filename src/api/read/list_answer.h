// list_answer.h: the bytes of a LIST's answer.
//
//   page ─▶ ready bytes of the objects, as spans (JSON as stored)
//        └▶ values ─▶ text or protobuf, item by item ─▶ pieces: no turn of the loop, and no copy, is as long as the
//        list
#pragma once

#include "api/answer/answer.h"
#include "api/read/listing.h"

namespace kedge::api {

task<void> send_page(net::http::exchange& e, reply& r, const served& s, page p);

}  // namespace kedge::api
