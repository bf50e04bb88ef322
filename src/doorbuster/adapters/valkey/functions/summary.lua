-- summary: reads the published image in numbers, in one atomic step
--
-- Keys:
--   meta        the published head of the image
--   stock       free units
--   pending     hold ids not yet confirmed, by the time they were taken
-- Replies:
--   image       then epoch, state, opens, ends, limit, available, stock, held, pending, tick
--   no_image    there is no image that can be believed
-- Invariants:
--   nothing is written
-- Cost:
--   3 calls to read

local function summary(keys)
  local meta_key, stock_key, pending_key = unpack(keys)

  local image = read_image(meta_key, stock_key)
  if not image then
    return { 'no_image' }
  end

  local pending = redis.call('ZCARD', pending_key)
  return {
    'image', image.epoch, image.state, image.opens, image.ends, image.limit,
    image.available, image.stock, image.held, pending, image.tick,
  }
end

register('summary', summary, { 'no-writes' })
