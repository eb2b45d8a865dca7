// scripts.h: what runs inside of Redis. A script runs alone: nobody sees half of one, and its effects reach the AOF and
// the replicas together. A script that fails after a write would leave what it wrote, so everything that can fail is
// asked before the first write (memory, disk and replicas are checked by Redis itself at that write).
//
// Keys, of one cluster (the braces keep them together where keys are spread):
//   {prefix}:meta         hash: schema, rev (the newest), compacted
//   {prefix}:log          stream, entry id <rev>-0: everything that exists, and the history above `compacted`
//                         t nonce of the batch · k kind · n name · p previous · c created · l lease · v value
//   {prefix}:heads        hash of what exists: name → <rev>:<created>
//   {prefix}:server:<id>  hash: fence (the number of the newest session), told (how far it has been told)
//   {prefix}:news:<db>    channel: "<rev> <id>" after each batch
#pragma once

namespace kedge::datastore::redis::script {

// A server's session begins: calls of its sessions before are refused from here on, so what they have not done yet they
// never will. KEYS meta, log, server. ARGV 1 newest revision that the caller has, 2 its nonce, 3 seconds that the fence
// is kept. Gives fence, rev, compacted, schema; or KEDGEFORK.
inline constexpr const char* enter = R"lua(
local m = redis.call('HMGET', KEYS[1], 'rev', 'compacted', 'schema')
local rev, compacted, seen = tonumber(m[1] or '0'), tonumber(m[2] or '0'), tonumber(ARGV[1])
if seen > rev then
  return redis.error_reply('KEDGEFORK its newest revision is ' .. rev .. ', this server has ' .. seen)
end
if seen > compacted and ARGV[2] ~= '' then
  local e = redis.call('XRANGE', KEYS[2], ARGV[1] .. '-0', ARGV[1] .. '-0')
  if not e[1] or e[1][2][2] ~= ARGV[2] then
    return redis.error_reply('KEDGEFORK revision ' .. seen .. ' is not what it was')
  end
end
local fence = redis.call('HINCRBY', KEYS[3], 'fence', 1)
redis.call('HSET', KEYS[3], 'told', ARGV[1])
redis.call('EXPIRE', KEYS[3], ARGV[3])
return {fence, rev, compacted, m[3] or ''}
)lua";

// What a new database begins with, as K3s's: revision 1 belongs to no object. KEYS meta, log, heads. ARGV 1 nonce.
inline constexpr const char* begin = R"lua(
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
if redis.call('EXISTS', KEYS[2]) == 1 then return redis.error_reply('KEDGEFORK the log is there, but nothing that tells about it') end
redis.call('XADD', KEYS[2], '2-0', 't', ARGV[1], 'k', 'c', 'n', '/registry/health', 'p', '0', 'c', '2', 'l', '0', 'v', '{"health":"true"}')
redis.call('HSET', KEYS[3], '/registry/health', '2:2')
redis.call('HSET', KEYS[1], 'schema', '1', 'rev', '2', 'compacted', '0')
return 1
)lua";

// A batch. KEYS meta, log, heads, server. ARGV 1 fence, 2 newest revision that the caller has, 3 its nonce, 4 this
// batch's nonce, 5 channel, 6 message's end, 7 bytes, 8 operations; then all names, and for each operation kind (c, u,
// d), expected, lease, value. Then the guards, if any: how many, name and expected revision of each, and for each
// operation that has some its number, how many, and their numbers. No name comes twice, so what stands is asked for
// once and noted once: half of the calls, and of the AOF's commands. unpack() takes some thousands; limits.h has far
// less. ARGV 7 is how many bytes of others' entries are wanted; it gives a few more, because it looks at some at a
// time. Gives {told, compacted}, the first entries of others above told, and for each operation its revision, or what
// stands instead, negative, or nil when a guard failed. Two calls of a session may be on their way: `told` is what
// keeps the second's answer from repeating the first's.
inline constexpr const char* append = R"lua(
local call = redis.call
local m = call('HMGET', KEYS[1], 'rev', 'compacted')
local rev, compacted, seen = tonumber(m[1] or '0'), tonumber(m[2] or '0'), tonumber(ARGV[2])
local s = call('HMGET', KEYS[4], 'fence', 'told')
if s[1] ~= ARGV[1] then return redis.error_reply('KEDGEFENCED another session of this server has begun') end
if seen > rev then
  return redis.error_reply('KEDGEFORK its newest revision is ' .. rev .. ', this server has ' .. seen)
end
if seen > compacted and ARGV[3] ~= '' then
  local e = call('XRANGE', KEYS[2], ARGV[2] .. '-0', ARGV[2] .. '-0')
  if not e[1] or e[1][2][2] ~= ARGV[3] then
    return redis.error_reply('KEDGEFORK revision ' .. seen .. ' is not what it was')
  end
end
local told = math.max(seen, tonumber(s[2] or '0'))
local others = {}
local next, room = told, tonumber(ARGV[7])
while next < rev and room > 0 do
  local some = call('XRANGE', KEYS[2], string.format('%d-0', next + 1), '+', 'COUNT', 8)
  if #some == 0 then break end
  for _, e in ipairs(some) do
    others[#others + 1] = e
    room = room - #e[2][14] - #e[2][6]
  end
  next = tonumber(string.match(some[#some][1], '^%d+'))
end
local n = tonumber(ARGV[8])
local barred = {}
local g = 9 + 5 * n
if ARGV[g] then
  local names, failed = {}, {}
  for i = 1, tonumber(ARGV[g]) do names[i] = ARGV[g + 2 * i - 1] end
  for i, head in ipairs(call('HMGET', KEYS[3], unpack(names))) do
    failed[i] = (head and string.match(head, '^%d+') or '0') ~= ARGV[g + 2 * i]
  end
  local at = g + 2 * #names + 1
  while ARGV[at] do
    local op, many = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
    for i = at + 2, at + 1 + many do barred[op] = barred[op] or failed[tonumber(ARGV[i])] end
    at = at + 2 + many
  end
end
local heads = call('HMGET', KEYS[3], unpack(ARGV, 9, 8 + n))
local out, before, new, gone = {}, rev, {}, {}
for i = 1, n do
  local a, head, name = 5 + n + 4 * i, heads[i], ARGV[8 + i]
  local kind, at, created = ARGV[a], '0', '0'
  if head then at, created = string.match(head, '^(%d+):(%d+)$') end
  local fits
  if kind == 'c' then fits = not head else fits = head and at == ARGV[a + 1] end
  if barred[i] then
    out[i] = false
  elseif fits then
    rev = rev + 1
    local id = string.format('%d', rev)
    if kind == 'c' then created = id end
    call('XADD', KEYS[2], id .. '-0', 't', ARGV[4], 'k', kind, 'n', name, 'p', at, 'c', kind == 'd' and '0' or created,
      'l', ARGV[a + 2], 'v', ARGV[a + 3])
    if kind == 'd' then
      gone[#gone + 1] = name
    else
      local k = #new
      new[k + 1], new[k + 2] = name, id .. ':' .. created
    end
    out[i] = rev
  else
    out[i] = -tonumber(at)
  end
end
if #new > 0 then call('HSET', KEYS[3], unpack(new)) end
if #gone > 0 then call('HDEL', KEYS[3], unpack(gone)) end
if rev > before then
  local newest = string.format('%d', rev)
  call('HSET', KEYS[1], 'rev', newest)
  call('HSET', KEYS[4], 'told', newest)
  redis.pcall('PUBLISH', ARGV[5], newest .. ARGV[6])
end
return {{told, compacted}, others, out}
)lua";

// A step of compaction: what was replaced or removed up to there goes. KEYS meta, log. ARGV 1 wanted, 2 entries, 3
// newest revisions kept. Gives the compact revision, and whether there is more to do.
inline constexpr const char* compact = R"lua(
local m = redis.call('HMGET', KEYS[1], 'rev', 'compacted')
local rev, compacted = tonumber(m[1] or '0'), tonumber(m[2] or '0')
local upto = math.min(tonumber(ARGV[1]), rev - tonumber(ARGV[3]))
if upto <= compacted then return {compacted, 0} end
local entries = redis.call('XRANGE', KEYS[2], string.format('%d-0', compacted + 1), string.format('%d-0', upto),
  'COUNT', ARGV[2])
local more = #entries == tonumber(ARGV[2])
if more then upto = tonumber(string.match(entries[#entries][1], '^%d+')) end
local gone = {}
for _, e in ipairs(entries) do
  local f = e[2]
  if f[8] ~= '0' then gone[#gone + 1] = f[8] .. '-0' end
  if f[4] == 'd' then gone[#gone + 1] = e[1] end
end
if #gone > 0 then redis.call('XDEL', KEYS[2], unpack(gone)) end
redis.call('HSET', KEYS[1], 'compacted', string.format('%d', upto))
return {upto, more and 1 or 0}
)lua";

// An entry under the name that ARGV 5 gives, unless one says as much already. KEYS meta, log, heads. ARGV 1 seen, 2
// nonce, 3 channel, 4 message's end, 5 name.
inline constexpr const char* tell_loss = R"lua(
local call = redis.call
local rev = tonumber(call('HGET', KEYS[1], 'rev') or '0')
local at, created = '0', nil
local head = call('HGET', KEYS[3], ARGV[5])
if head then
  at, created = string.match(head, '^(%d+):(%d+)$')
  local e = call('XRANGE', KEYS[2], at .. '-0', at .. '-0')
  if e[1] and tonumber(e[1][2][14]) >= tonumber(ARGV[1]) then return 0 end
end
local id = string.format('%d', rev + 1)
call('XADD', KEYS[2], id .. '-0', 't', ARGV[2], 'k', created and 'u' or 'c', 'n', ARGV[5], 'p', at, 'c', created or id, 'l', '0', 'v', ARGV[1])
call('HSET', KEYS[3], ARGV[5], id .. ':' .. (created or id))
call('HSET', KEYS[1], 'rev', id)
redis.pcall('PUBLISH', ARGV[3], id .. ARGV[4])
return 1
)lua";

// After writes were lost: the next revision is far above what was seen and all that is there, and what was before is
// compacted, unless it is so already. The entry there is a removal of what never was, so that the log's end is what
// `rev` says. KEYS meta, log. ARGV 1 newest revision seen, 2 how far, 3 nonce. Gives the compact revision.
inline constexpr const char* pass_over = R"lua(
local m = redis.call('HMGET', KEYS[1], 'rev', 'compacted')
local rev, compacted, seen = tonumber(m[1] or '0'), tonumber(m[2] or '0'), tonumber(ARGV[1])
if compacted >= seen then return compacted end
local height = string.format('%d', math.max(rev, seen) + tonumber(ARGV[2]))
redis.call('XADD', KEYS[2], height .. '-0', 't', ARGV[3], 'k', 'd', 'n', 'gap-' .. height, 'p', '0', 'c', '0', 'l', '0', 'v', '')
redis.call('HSET', KEYS[1], 'rev', height, 'compacted', height)
return tonumber(height)
)lua";

}  // namespace kedge::datastore::redis::script
