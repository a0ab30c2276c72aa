-- How leases end whose messages are not done.

-- What the worker counts for each.
local OUTCOMES = {retry = 'retry', dead_letter = 'dead', dead_result = 'dead', release = 'released'}

local function back_off(ref, delay)
    if delay > 0 then
        redis.call('ZADD', key('blocked'), NOW + delay, ref)
    else
        ready_first[#ready_first + 1] = ref
    end
end

local function take_away(ref, id, packed, row, started)
    if started then
        remember_attempt(row, read_lease(packed), 'cancelled', '')
    end
    note_cancelled(id, row)
    if pop_head(ref) then
        ready_last[#ready_last + 1] = ref
    end
end

local ends = {
    retry = function(ref, id, packed, at, row)
        row[ROW.FAILURES] = row[ROW.FAILURES] + 1
        remember_attempt(row, read_lease(packed), 'retry', ARGV[at + 1])
        write_row(id, row)
        back_off(ref, tonumber(ARGV[at]))
    end,
    dead_letter = function(ref, id, packed, at, row)
        row[ROW.FAILURES] = row[ROW.FAILURES] + 1
        remember_attempt(row, read_lease(packed), 'dead', ARGV[at + 1])
        if bury_head(ref, id, row, ARGV[at]) then
            ready_last[#ready_last + 1] = ref
        end
    end,
    release = function(ref, id, packed, at, row)
        if ARGV[at + 2] == '1' then
            row[ROW.PARKED] = row[ROW.PARKED] > 0 and row[ROW.PARKED] or NOW
            write_row(id, row)
        elseif ARGV[at + 1] ~= '' then
            remember_attempt(row, read_lease(packed), 'released', '')
            set_extra(row, 'begun', true)
            write_row(id, row)
        elseif tonumber(ARGV[at]) > 0 and not extra_of(row, 'begun') then -- refused inside its actor
            set_extra(row, 'begun', true)
            write_row(id, row)
        end
        back_off(ref, tonumber(ARGV[at]))
    end,
    cancel = function(ref, id, packed, _, row)
        take_away(ref, id, packed, row, true)
    end,
}

ends.dead_result = function(ref, id, packed, at, row)
    ends.dead_letter(ref, id, packed, at, row)
    results[#results + 1] = {key('result:' .. id), ARGV[at + 2], ARGV[at + 3]}
end

-- A release without delay and reason: the message had not started, so no limit counts it.
local function unstarted(at)
    return ARGV[at] == '0' and ARGV[at + 1] == '' and ARGV[at + 2] ~= '1'
end

-- The worker did not know yet, and counts (in this call, or in one on another shard) what it asked for.
local function count_as_cancelled(actor, verb)
    redis.call('HINCRBY', key('stats'), 'attempts|' .. actor .. '|' .. OUTCOMES[verb], -1)
    redis.call('HINCRBY', key('stats'), 'attempts|' .. actor .. '|cancelled', 1)
end

local function settle_undone(verb, ref, id, packed, at)
    local row, extras = fetch_row(id), extras_of(packed)
    end_lease(ref)
    opened = end_extras(packed) or opened
    if not row then -- Redis lost the message: its group goes on without it
        if pop_head(ref) then
            ready_last[#ready_last + 1] = ref
        end
        return 0
    end
    local started = verb ~= 'release' or not unstarted(at)
    if not started and extras and extras.charged then
        recharge(extras.charged, read_lease(packed).claimed)
    end
    if extras and extras.cancel and verb ~= 'cancel' then
        take_away(ref, id, packed, row, started)
        count_as_cancelled(row[ROW.ACTOR], verb)
        return 2
    end
    ends[verb](ref, id, packed, at, row)
    return 1
end
