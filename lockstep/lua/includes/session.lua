-- Sessions make a resent call harmless: a session is one connection's line of numbered calls, and
-- its last answer is kept. A client that lost an answer sends the same number again and gets that answer. A number
-- below that is a copy that a slow network held back until its client had gone on: it does nothing.

local SESSION_MS = 600000

local function session_key(session)
    return key('session:' .. session)
end

-- The answer given to this call before, by what is kept of its session; empty for a late copy, nil when it is new.
local function replay_of(packed, number)
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

local function replay(session, number)
    return replay_of(redis.call('GET', session_key(session)), number)
end

local function remember(session, number, answer)
    redis.call('SET', session_key(session), cmsgpack.pack({number, answer}), 'PX', SESSION_MS)
    return answer
end
