-- Which dead letters an operator means. A filter is a JSON object with any of: actor, group, error (class), fingerprint,
-- text (in the error's message, A to Z in either case), since and until (ms when it died, both included).

-- Bytes of rows that one call reads, about.
local MOST_BYTES = 8 * 1024 * 1024

local function within_group(row, group)
    return row[ROW.REF] == 'g:' .. group or extra_of(row, 'group') == group
end

local function matches(row, filter)
    local died = row[ROW.DIED]
    if died == 0 or filter.since and died < filter.since or filter['until'] and died > filter['until']
        or filter.actor and row[ROW.ACTOR] ~= filter.actor
        or filter.group and not within_group(row, filter.group) then
        return false
    end
    if not (filter.error or filter.fingerprint or filter.text) then
        return true
    end
    local class, fingerprint, message = death_of(row)
    return (not filter.error or class == filter.error)
        and (not filter.fingerprint or fingerprint == filter.fingerprint)
        and (not filter.text or string.find(string.lower(message), string.lower(filter.text), 1, true) ~= nil)
end
