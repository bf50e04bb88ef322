-- set_available: changes the units on sale; the free units move by the difference
--
-- Keys:
--   meta        the published head of the image
--   stock       free units
-- Arguments:
--   epoch       the epoch of the image to change
--   available   units on sale from now on
-- Replies:
--   changed     available is this from now on
--   same        it was this already
--   too_few     fewer units are free than would have to go; nothing was changed
--   no_image    there is no image that can be believed
--   other_epoch the image has another epoch; nothing was changed
-- Invariants:
--   stock never falls below 0; stock and units on sale move together
--   a repeat or a late copy changes nothing
-- Cost:
--   2 calls to read and 2 to write

local function set_available(keys, args)
  local meta_key, stock_key = unpack(keys)
  local epoch, available = whole(args[1]), whole(args[2])
  if not epoch or not available or available < 0 then
    return bad_call('set_available: malformed call')
  end

  local image, problem = image_of(epoch, meta_key, stock_key)
  if not image then
    return { problem }
  end
  local difference = available - image.available
  if difference == 0 then
    return { 'same' }
  end
  if image.stock + difference < 0 then -- I1
    return { 'too_few' }
  end

  -- Point of no return.
  redis.call('INCRBY', stock_key, difference)
  redis.call('HSET', meta_key, 'available', available, 'tick', image.tick + 1)
  return { 'changed' }
end

register('set_available', set_available)
