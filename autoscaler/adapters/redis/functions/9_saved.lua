-- What an export reads and an import writes, beside what the other functions do.

local function saved_alarm(prefix, id)
  local known, record, definition, tally = redis.call('HGETALL', prefix .. 'alarm:' .. id), '', '', {}
  for i = 1, #known, 2 do
    local field, value = known[i], known[i + 1]
    if field == 'record' then
      record = value
    elseif field == 'definition' then
      definition = value
    elseif string.sub(field, 1, 6) == 'tally:' then
      tally[#tally + 1] = {string.sub(field, 7), tonumber(value)}
    end
  end
  local lanes, rows = redis.call('SMEMBERS', prefix .. 'lanes:' .. id), {}
  table.sort(lanes)
  for _, lane in ipairs(lanes) do
    for _, row in ipairs(redis.call('LRANGE', prefix .. 'lane:' .. lane, 0, -1)) do
      rows[#rows + 1] = row
    end
  end
  return {record, definition, tally, redis.call('LRANGE', prefix .. 'history:' .. id, 0, -1), rows}
end

-- Of each alarm record, definition, counts by state, history with the newest first, and the rows of all lanes.
register('saved_alarms', function(keys, args)
  local prefix, _, ids = asked(keys, args)
  local found = {}
  for i, id in ipairs(ids) do
    found[i] = saved_alarm(prefix, id)
  end
  return cmsgpack.pack(found)
end, {'no-writes'})

-- A group's record and its decisions, newest first.
register('saved_group', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  local record = redis.call('HGET', prefix .. 'group:' .. ask[1], 'record') or ''
  return cmsgpack.pack({record, redis.call('LRANGE', prefix .. 'decisions:' .. ask[1], 0, -1)})
end, {'no-writes'})

register('restore_group', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  redis.call('HSET', prefix .. 'group:' .. ask.name, 'version', whole_number(ask.version), 'record', ask.record)
  for _, decision in ipairs(ask.decision) do
    keep(prefix, ask.name, decision, false, ask.decisions)
  end
  return ''
end)
