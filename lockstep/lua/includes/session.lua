-- Sessions make a resent call harmless: a session is one connection's line of numbered calls, and
-- its last answer is kept. A client that lost an answer sends the same number again and gets that answer. A number
-- below that is a copy that a slow network held back until its client had gone on: it does nothing.

local SESSION_MS = 600000

-- The answer given to this call before, empty for a late copy; nil when it is new.
local function replay(session, number)
    local packed = redis.call('GET', key('session:' .. session))
    if packed then
        local last = cmsgpack.unpack(packed)
        if last[1] == number then
            return last[2]
        elseif tonumber(last[1]) > tonumber(number) then
            return {}
        end
    end
    return nil
end

local function remember(session, number, answer)
    redis.call('SET', key('session:' .. session), cmsgpack.pack({number, answer}), 'PX', SESSION_MS)
    return answer
end
