-- Purpose: forget dead letters; those named, or those that match a filter, a batch a call. What is not dead is left
--          alone. Idempotent: a resent call gets its first answer.
-- KEYS:    1 meta of the shard
-- ARGV:    1 session, 2 call number, 3 '1' to change nothing and only count, 4 died by (ms; '': now),
--          5 most that this call changes (at most 500), 6 filter (JSON; '': those named),
--          7 place after which to look ('': from the beginning), then the ids that are named, at most 500
-- Answers: place up to which it looked ('': all), died by (ms), ids that matched
-- States:  message dead -> (none); group blocked -> ready | absent

-- @include shard
-- @include session
-- @include row
-- @include group
-- @include ready
-- @include lanes
-- @include place
-- @include death
-- @include dead
-- @include exhume
-- @include matching
-- @include selection
-- @include finished
-- @include discard
-- @include removed

local answer = replay(ARGV[1], ARGV[2])
if answer then
    return answer
end

local died_by, most = tonumber(ARGV[4]) or NOW, math.min(tonumber(ARGV[5]), MOST_CHANGED)
local ids, rows, place
if ARGV[6] == '' then
    ids, rows = select_named(8, died_by)
    place = ''
else
    ids, rows, place = select_matching(cjson.decode(ARGV[6]), ARGV[7], died_by, most)
end
if ARGV[3] == '1' then
    return {place, died_by, ids}
end

write_though_full()
discard(ids, rows)
if #ids > 0 then
    note_removed(ids, 'discarded')
end
return remember(ARGV[1], ARGV[2], {place, died_by, ids})
