-- A message's row: one packed array, so that its payload stays opaque bytes.
-- A row keeps elements that this version does not know, so that an older script may rewrite it.
--
--  1 ref       its group: 'g:' .. group, or 'm:' .. id
--  2 actor
--  3 payload   opaque bytes
--  4 sequence  its place in the order of acceptance; 0 while scheduled
--  5 enqueued  ms, when it was accepted
--  6 failures  attempts that failed
--  7 crashes   deliveries whose worker died or lost its lease
--  8 parked    ms since when its actor is unknown; 0: it is not
--  9 history   ended attempts, oldest first: {worker, started ms, ended ms, outcome, error}
-- 10 member    its member in scheduled; '' when it is not there
-- 11 died      ms when it became a dead letter; 0: it is none
-- 12 reason    why it is dead
-- 13 blocks    1 when its death blocks its group
-- 14 extra     what few messages have, by name; false: nothing of it
--
-- extra.priority   0 to 9 among ready groups; 0, the first, when it is not there
-- extra.due        ms until when the group waits once this message is its head; of one that was scheduled: when that
--                  fell due
-- extra.limit      key that its rate limits are kept apart by
-- extra.rates      what holds for it in place of its actor's rate_limit: rates as in includes/limits.lua ('' for none),
--                  then the names of limits that it shares, each on a line of its own
-- extra.group      group of which extra.slots messages may run at once: then each is a ref of its own
-- extra.unique     what it is the only one by, and until when: see includes/unique.lua
-- extra.retention  ms that its record is kept once it is done
-- extra.cancelled  ms when it was taken back
-- extra.begun      true when nothing may go before it though it has no failure: an attempt was put back
-- extra.kind       of a dead letter: see includes/dead.lua
-- extra.redriven   times that it was redriven
-- extra.words      words that it is found by (includes/index.lua)

local ROW = {
    REF = 1, ACTOR = 2, PAYLOAD = 3, SEQUENCE = 4, ENQUEUED = 5, FAILURES = 6, CRASHES = 7,
    PARKED = 8, HISTORY = 9, MEMBER = 10, DIED = 11, REASON = 12, BLOCKS = 13, EXTRA = 14,
}

-- Attempts that a row remembers: a message that fails for ever must not grow for ever.
local HISTORY_LIMIT = 20

-- The elements that are there; nil for bytes that are no row.
local function unpack_row(packed)
    local intact, row = pcall(cmsgpack.unpack, packed)
    if intact and type(row) == 'table' and row[ROW.ENQUEUED] then
        return row
    end
    return nil
end

-- All elements. Bytes that are no row are the payload of one that names no group.
local function read_row(packed)
    local row = unpack_row(packed) or {'', '', packed, 0, 0}
    for place = ROW.FAILURES, ROW.PARKED do
        row[place] = row[place] or 0
    end
    row[ROW.HISTORY] = row[ROW.HISTORY] or {}
    row[ROW.MEMBER] = row[ROW.MEMBER] or ''
    row[ROW.DIED] = row[ROW.DIED] or 0
    row[ROW.REASON] = row[ROW.REASON] or ''
    row[ROW.BLOCKS] = row[ROW.BLOCKS] or 0
    row[ROW.EXTRA] = row[ROW.EXTRA] or false
    return row
end

-- Most rows never need more than the first five elements: what is kept for a message is what it costs.
local function new_row(ref, actor, payload, sequence, blocks, member, extra)
    if blocks ~= '1' and member == '' and not extra then
        return cmsgpack.pack({ref, actor, payload, sequence, NOW})
    end
    return cmsgpack.pack({ref, actor, payload, sequence, NOW, 0, 0, 0, {}, member, 0, '', blocks == '1' and 1 or 0,
        extra})
end

-- One of the few things by name; nil when the row has none of that name.
local function extra_of(row, name)
    return row[ROW.EXTRA] and row[ROW.EXTRA][name]
end

local function set_extra(row, name, value)
    row[ROW.EXTRA] = row[ROW.EXTRA] or {}
    row[ROW.EXTRA][name] = value
end

-- A message keeps others out no longer (see includes/unique.lua): it started, or it is finished. If it never did,
-- nothing changes.
local function release_unique(id, print)
    if redis.call('HGET', key('unique'), print) == id then
        redis.call('HDEL', key('unique'), print)
    end
end

local function release_finished(id, row)
    local unique = extra_of(row, 'unique')
    if unique then
        release_unique(id, unique[1])
    end
end

-- The row of a message; nil when Redis has none.
local function fetch_row(id)
    local packed = id and redis.call('HGET', key('messages'), id)
    return packed and read_row(packed) or nil
end

local function write_row(id, row)
    redis.call('HSET', key('messages'), id, cmsgpack.pack(row))
end

local function remember_attempt(row, lease, outcome, error_json)
    local history = row[ROW.HISTORY]
    history[#history + 1] = {lease.owner, lease.claimed, NOW, outcome, error_json}
    if #history > HISTORY_LIMIT then
        table.remove(history, 1)
    end
end
