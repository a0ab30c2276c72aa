-- Dead letters: made here, found in their original order and by kind, and taken off again. The kind of one is its actor,
-- the class of its error (why it died, when there was none) and the error's fingerprint.
--
--   dead         zset  id -> ms when it died
--   dead_order   zset  id -> sequence; below 1 for what never had one
--   dead_actors  hash  actor -> number of its dead letters
--   kinds        hash  kind -> {actor, class, fingerprint, message of the first}
--   kind:KIND    zset  id -> ms when it died

-- Kinds that a shard tells apart; later ones count as OTHER until one of these is gone.
local MOST_KINDS = 1000
local OTHER = 'other'

-- Characters of an error's message that a kind shows.
local SHOWN = 300

local function note_kind(row)
    local class, fingerprint, message = death_of(row)
    local kind = string.sub(redis.sha1hex(cmsgpack.pack({row[ROW.ACTOR], class, fingerprint})), 1, 16)
    if redis.call('HEXISTS', key('kinds'), kind) == 0 then
        local facts = {row[ROW.ACTOR], class, fingerprint, string.sub(message, 1, SHOWN)}
        if redis.call('HLEN', key('kinds')) >= MOST_KINDS then
            kind, facts = OTHER, {'', OTHER, '', ''}
        end
        redis.call('HSET', key('kinds'), kind, cmsgpack.pack(facts))
    end
    return kind
end

-- Note a dead letter, whose row says when it died and of which kind it is, in every list of them.
local function enlist_dead(id, row)
    redis.call('ZADD', key('dead'), row[ROW.DIED], id)
    redis.call('ZADD', key('dead_order'), row[ROW.SEQUENCE] > 0 and row[ROW.SEQUENCE] or NOW_US / 1e16, id)
    redis.call('ZADD', key('kind:' .. extra_of(row, 'kind')), row[ROW.DIED], id)
end

-- Make a message a dead letter that is in no group any more, or blocks its own. Its last attempt is remembered already.
local function note_dead(id, row, reason)
    row[ROW.DIED] = NOW
    row[ROW.REASON] = reason
    set_extra(row, 'kind', note_kind(row))
    release_finished(id, row)
    write_row(id, row)
    enlist_dead(id, row)
    redis.call('HINCRBY', key('dead_actors'), row[ROW.ACTOR], 1)
end

-- Make the head of a group a dead letter. The caller has ended its lease and remembered the attempt.
-- Where its death blocks the group, it stays in the list and the group waits for an operator: so no enqueue
-- makes the group ready. Answers whether messages remain that may run.
local function bury_head(ref, id, row, reason)
    local remains = false
    if row[ROW.BLOCKS] == 1 and is_listed(ref) then
        redis.call('ZADD', key('blocked'), '+inf', ref)
    else
        remains = pop_head(ref)
    end
    note_dead(id, row, reason)
    return remains
end
