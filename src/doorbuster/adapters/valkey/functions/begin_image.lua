-- begin_image: takes the present image out of use and claims the building of a new one (R9c)
--
-- Keys:
--   meta        the published head of the image
--   stock       free units
--   holds       hold id to its record
--   claims      buyer to units held or bought
--   keys        buyer and idempotency key to hold id and digest
--   pending     hold ids not yet confirmed, by the time they were taken
--   blocked     buyers who may not take part
--   build       epoch of the image being built
--   queue       buyers who wait, by their numbers
--   granting    buyers whose unit is taken and whose order is not settled, by their numbers
--   grants      buyer to hold id and time of such a unit
--   spent       buyer to the highest number that waits no longer
--   news        changes of the line
-- Arguments:
--   epoch       the epoch to build
-- Replies:
--   begun       nothing is left of the image before; the caller may write
--   overtaken   this epoch or a newer one is published, or a newer one is being built; nothing was changed
-- Invariants:
--   an older builder never removes a newer image (I12)
--   who waits goes on waiting, with those whose order was not settled, at the numbers they had: a number is the
--   ledger's, so what is left of a line is never wrong, only incomplete
-- Cost:
--   4 calls to read and 3 to write, for at most ROWS_MAX unsettled grants; memory is given back outside the call

local function begin_image(keys, args)
  local meta_key, stock_key, holds_key, claims_key, keys_key, pending_key, blocked_key, build_key,
    queue_key, granting_key, grants_key, spent_key, news_key = unpack(keys)
  local epoch = whole(args[1])
  if not epoch or epoch < 1 then
    return bad_call('begin_image: malformed call')
  end

  -- What cannot be read as an epoch is rubbish to be replaced, so it counts as 0.
  local published = tonumber(redis.pcall('HGET', meta_key, 'epoch')) or 0
  local building = tonumber(redis.pcall('GET', build_key)) or 0
  if published >= epoch or building > epoch then
    return { 'overtaken' }
  end

  local kind = redis.call('TYPE', queue_key).ok
  if kind ~= 'zset' and kind ~= 'none' then
    redis.call('UNLINK', queue_key)
  end
  local unsettled = redis.pcall('ZRANGE', granting_key, 0, -1, 'WITHSCORES')
  local back = {}
  for at = 1, #unsettled, 2 do
    back[at], back[at + 1] = unsettled[at + 1], unsettled[at]
  end
  if #back > 0 then
    redis.call('ZADD', queue_key, 'LT', unpack(back))
  end
  redis.call('UNLINK', meta_key, stock_key, holds_key, claims_key, keys_key, pending_key, blocked_key,
    granting_key, grants_key, spent_key, news_key)
  redis.call('SET', build_key, args[1])
  return { 'begun' }
end

register('begin_image', begin_image)
