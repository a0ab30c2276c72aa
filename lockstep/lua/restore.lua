-- Purpose: put exported messages back, each in the state that it had, its group in its order; behind what was there before
--          the import. A known id writes nothing. Idempotent: a resent call gets its first answer.
-- KEYS:    1 meta of the shard
-- ARGV:    1 session, 2 call number, 3 base: what is added to each sequence ('' for the first call of an import that
--          finds a new message: it then reserves as many numbers as ARGV 4 says), 4 highest sequence in the export,
--          5 number of messages (at most 500), then for each: id, ref, actor, payload (opaque bytes), facts (JSON):
--          state, sequence, enqueued, failures, crashes, parked, attempts, due, died, reason, blocks, heads, extra
-- Answers: base ('' when nothing was new); for each message: 1 restored, 0 its id was known; groups that had others,
--          behind which messages joined; dead letters that block their group no longer, because it had others
-- States:  message (none) -> waiting | scheduled | backoff | dead; group absent -> ready | blocked

-- @include shard
-- @include session
-- @include row
-- @include lease
-- @include group
-- @include ready
-- @include lanes
-- @include place
-- @include death
-- @include dead
-- @include insert
-- @include index

local answer = replay(ARGV[1], ARGV[2])
if answer then
    return answer
end

local base, HIGHEST, COUNT = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local ids = {}
for i = 1, COUNT do
    ids[i] = ARGV[5 * i + 1]
end
local known = redis.call('HMGET', key('messages'), unpack(ids))

local joined, let_go, delayed = 0, 0, false

-- What was accepted while the export was made may be beyond what it says is its highest: it comes last.
local function sequence_of(facts)
    if facts.sequence > HIGHEST then
        return redis.call('HINCRBY', KEYS[1], 'seq', 1)
    end
    return base + facts.sequence
end

local function row_of(ref, actor, payload, facts)
    return {ref, actor, payload, 0, facts.enqueued, facts.failures, facts.crashes, facts.parked, facts.attempts, '', 0, '',
        facts.blocks, facts.extra and next(facts.extra) and facts.extra or false}
end

local function block(ref, until_ms)
    redis.call('ZADD', key('blocked'), until_ms, ref)
    delayed = true
end

-- A dead letter that blocked its group does so again where it comes first.
local function put_dead(id, row, facts)
    row[ROW.DIED], row[ROW.REASON] = facts.died, facts.reason
    set_extra(row, 'kind', note_kind(row))
    enlist_dead(id, row)
    redis.call('HINCRBY', key('dead_actors'), row[ROW.ACTOR], 1)
    if facts.heads == 1 and is_listed(row[ROW.REF]) then
        if redis.call('EXISTS', list_key(row[ROW.REF])) == 0 then
            redis.call('RPUSH', list_key(row[ROW.REF]), id)
            block(row[ROW.REF], '+inf')
        else
            let_go = let_go + 1
        end
    end
end

local function schedule(id, row, facts)
    row[ROW.SEQUENCE] = 0
    row[ROW.MEMBER] = string.format('%016.0f', redis.call('HINCRBY', KEYS[1], 'seq', 1)) .. id
    redis.call('ZADD', key('scheduled'), facts.due, row[ROW.MEMBER])
    delayed = true
end

-- Where its sequence says: the tail, unless something was accepted since the import began. Answers whether it is the head.
local function put_in_group(id, row)
    local ref = row[ROW.REF]
    local tail = is_listed(ref) and fetch_row(redis.call('LINDEX', list_key(ref), -1))
    if not tail then
        append(ref, id)
        return true
    end
    if tail[ROW.SEQUENCE] <= base then
        joined = joined + 1
    end
    if tail[ROW.SEQUENCE] < row[ROW.SEQUENCE] then
        append(ref, id)
        return false
    end
    local is_head = insert_in_order(ref, id, row[ROW.SEQUENCE]) == 'first'
    pivots[ref] = nil -- others come behind it, too
    if is_head then
        unseat(ref)
    end
    return is_head
end

-- One that waits for its time waits for it as the head of its group, now or once it is that.
local function put_unfinished(id, row, facts)
    local waits = facts.due and facts.due > NOW
    local is_head = put_in_group(id, row)
    local ref = row[ROW.REF]
    if is_head and waits then
        block(ref, facts.due)
    elseif is_head then
        make_ready('RPUSH', {ref})
    elseif waits then
        set_extra(row, 'due', facts.due)
    end
end

local function keep_others_out(id, row)
    local unique = extra_of(row, 'unique')
    if unique then
        redis.call('HSETNX', key('unique'), unique[1], id)
    end
end

local function restore(id, ref, actor, payload, facts)
    local row = row_of(ref, actor, payload, facts)
    if extra_of(row, 'priority') then
        redis.call('HSET', KEYS[1], 'leveled', 1)
        is_leveled = true
    end
    if facts.state == 'scheduled' then
        schedule(id, row, facts)
    else
        row[ROW.SEQUENCE] = sequence_of(facts)
        write_row(id, row) -- what follows reads the rows of heads
        if facts.state == 'dead' then
            put_dead(id, row, facts)
        else
            put_unfinished(id, row, facts)
        end
    end
    if facts.state ~= 'dead' then
        keep_others_out(id, row)
    end
    index_words(id, row[ROW.EXTRA])
    write_row(id, row)
end

answer = {}
local seen = {}
for i, id in ipairs(ids) do
    if known[i] or seen[id] then
        answer[i] = 0
    else
        if not base then
            base = redis.call('HINCRBY', KEYS[1], 'seq', HIGHEST) - HIGHEST
        end
        local at = 5 * i + 2
        restore(id, ARGV[at], ARGV[at + 1], ARGV[at + 2], cjson.decode(ARGV[at + 3]))
        seen[id] = true
        answer[i] = 1
    end
end
if delayed then
    wake() -- whoever sleeps knows of nothing that is due so soon
end
return remember(ARGV[1], ARGV[2], {base and string.format('%.0f', base) or '', answer, joined, let_go})
