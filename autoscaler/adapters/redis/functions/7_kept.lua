-- Small documents: a hash `kept:KIND` of key -> document.

-- Each {key, length}, the documents behind one another as data; none, as a length of -1, drops what is kept.
register('keep', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  local key, at = prefix .. 'kept:' .. ask[1], 1
  for _, entry in ipairs(ask[2]) do
    local name, length = entry[1], entry[2]
    if length < 0 then
      redis.call('HDEL', key, name)
    else
      redis.call('HSET', key, name, string.sub(args[3], at, at + length - 1))
      at = at + length
    end
  end
  return ''
end)

-- The keys of all documents.
register('kept_keys', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  return cmsgpack.pack(redis.call('HKEYS', prefix .. 'kept:' .. ask[1]))
end, {'no-writes'})

-- Documents in the order asked, as they are.
register('kept', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  return values_of(prefix .. 'kept:' .. ask[1], ask[2])
end, {'no-writes'})
