-- What belongs to no shard; all of it under the prefix "NAMESPACE:{hub}:".
--   `dead:KIND`      stream of dead letters; `dead-bytes` hash: kind -> how long they are together
--   `audit`          stream of changes by somebody's word
--   `replicas`       sorted set by the time of the last heartbeat; `heartbeats` hash: replica -> what it said
--   `freezes`        how many freezes there were
--   `declarations`   hash: generation and documents in force; `generations` list of all that were, newest first

-- Takes one entry of a stream of dead letters out; how long the rest is together.
local function unbury(prefix, kind, entry)
  redis.call('XDEL', prefix .. 'dead:' .. kind, entry[1])
  return redis.call('HINCRBY', prefix .. 'dead-bytes', kind, -#entry[2][2])
end

register('bury', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  local most, most_bytes = ask[1], ask[2]
  for _, letter in ipairs(ask[3]) do
    local kind, json = letter[1], letter[2]
    local key = prefix .. 'dead:' .. kind
    redis.call('XADD', key, '*', 'letter', json)
    local count = redis.call('XLEN', key)
    local size = redis.call('HINCRBY', prefix .. 'dead-bytes', kind, #json)
    while count > most or (size > most_bytes and count > 1) do
      size = unbury(prefix, kind, redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1])
      count = count - 1
    end
  end
  return ''
end)

-- A command that reads a stream, of those of a kind, from one id to another, at most so many.
register('letters', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  return redis.call(ask[1], prefix .. 'dead:' .. ask[2], ask[3], ask[4], 'COUNT', ask[5])
end, {'no-writes'})

-- Takes letters out, each {kind, id in its stream}: for each whether it was there.
register('drop_letters', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  local found = {}
  for i, letter in ipairs(ask) do
    local entry = redis.call('XRANGE', prefix .. 'dead:' .. letter[1], letter[2], letter[2])[1]
    found[i] = entry ~= nil
    if entry then
      unbury(prefix, letter[1], entry)
    end
  end
  return cmsgpack.pack(found)
end, {'allow-oom'})

register('audit', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  redis.call('XADD', prefix .. 'audit', 'MAXLEN', ask[1], '*', 'entry', ask[2], 'time', exact(ask[3][1] or now))
  return ''
end)

-- Changes with these ids, newest first: {id, {name, value, …}} each.
register('audits', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  return redis.call('XREVRANGE', prefix .. 'audit', ask[1], '-', 'COUNT', ask[2])
end, {'no-writes'})

register('next_freeze', function(keys)
  return redis.call('INCR', keys[1] .. 'freezes')
end)

-- What all living replicas said last, by name.
local function heartbeats(prefix, now, silence)
  local names = redis.call('ZRANGEBYSCORE', prefix .. 'replicas', '(' .. exact(now - silence), '+inf')
  local beats = {}
  table.sort(names)
  for i, living in ipairs(names) do
    beats[i] = redis.call('HGET', prefix .. 'heartbeats', living)
  end
  return beats
end

register('replicas', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  return cmsgpack.pack(heartbeats(prefix, now, ask[1]))
end, {'no-writes'})

-- Says that a replica lives; the heartbeats of all that do, the generation in force, and the form to write in.
register('beat', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  local name, json, silence = ask[1], ask[2], ask[3]
  redis.call('ZADD', prefix .. 'replicas', exact(now), name)
  redis.call('HSET', prefix .. 'heartbeats', name, json)
  local silent = redis.call('ZRANGEBYSCORE', prefix .. 'replicas', '-inf', exact(now - silence))
  in_pieces('ZREM', prefix .. 'replicas', silent)
  in_pieces('HDEL', prefix .. 'heartbeats', silent)
  local generation = redis.call('HGET', prefix .. 'declarations', 'generation') or ''
  local form = tonumber(redis.call('HGET', prefix .. 'schema', 'form')) or 1
  return cmsgpack.pack({heartbeats(prefix, now, silence), generation, now, form})
end)

-- Puts declarations into force, unless newer ones have superseded them; what is in force then.
register('publish', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  local generation, insist, most, documents = ask[1], ask[2], ask[3], args[3]
  local key, list = prefix .. 'declarations', prefix .. 'generations'
  local present = redis.call('HGET', key, 'generation')
  if present and redis.call('LPOS', list, generation) then
    if present == generation or not insist then
      return present
    end
    redis.call('LREM', list, 0, generation)
  end
  redis.call('LPUSH', list, generation)
  redis.call('LTRIM', list, 0, most - 1)
  redis.call('HSET', key, 'generation', generation, 'documents', documents)
  return generation
end)
