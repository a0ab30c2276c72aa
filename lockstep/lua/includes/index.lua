-- The search index: a set of ids for each word that messages were sent with. A message knows its own words (extra.words),
-- so whoever forgets it takes it out of their sets, and a word that nothing has any more has no key.

local function index_words(id, extra)
    if not (extra and extra.words) then
        return
    end
    redis.call('HSET', KEYS[1], 'indexed', 1)
    for _, word in ipairs(extra.words) do
        redis.call('SADD', key('word:' .. word), id)
    end
end
