-- What was asked under a client's key or id, with the first answer to it. It stands under a key of its own, which the
-- client's text names, so that a repeat is known in whatever shard it arrives, and long after its message is forgotten.
-- A message that comes with such keys has extra.once: at (their places in KEYS), prints (of what is asked under each),
-- ttl (ms).
-- A record is {print, id, sequence, state}.

-- The first answer, with what is known of its message by now; nil when it was never asked.
-- Then also the place in extra.once.at of a record of something else that was asked under the same key.
local function asked_before(once)
    local first
    for n, place in ipairs(once.at) do
        local packed = redis.call('GET', KEYS[place])
        if packed then
            local record = cmsgpack.unpack(packed)
            if record[1] ~= once.prints[n] then
                return nil, n
            end
            first = first or record
        end
    end
    if not first then
        return nil
    end
    local row = fetch_row(first[2]) -- not there: it is forgotten, or lives in another shard
    if row then
        return {1, row[ROW.SEQUENCE], state_of(first[2], row), first[2]}
    end
    return {1, first[3], first[4], first[2]}
end

-- Keep the answer for whoever asks again; an older one stays.
local function remember_asked(once, id, answered)
    for n, place in ipairs(once.at) do
        local record = cmsgpack.pack({once.prints[n], answered[4] or id, answered[2], answered[3]})
        redis.call('SET', KEYS[place], record, 'NX', 'PX', once.ttl)
    end
end
