-- summary: reads the published image in numbers, in one atomic step
--
-- Keys:
--   meta        the published head of the image
--   stock       free units
--   pending     hold ids not yet confirmed, by the time they were taken
--   blocked     buyers who may not take part
--   queue       buyers who wait, by their numbers
--   granting    buyers whose unit is taken and whose order is not settled, by their numbers
-- Replies:
--   image       then epoch, state, opens, ends, limit, available, stock, held, pending, tick, standby, waiting, next,
--               high, moves, ended, blocked; next is -1 when there is no line
--   no_image    there is no image that can be believed
-- Invariants:
--   nothing is written
-- Cost:
--   7 calls to read

local function summary(keys)
  local meta_key, stock_key, pending_key, blocked_key, queue_key, granting_key = unpack(keys)

  local image = read_image(meta_key, stock_key)
  local line = image and read_line(meta_key)
  if not line then
    return { 'no_image' }
  end

  local pending = redis.call('ZCARD', pending_key)
  local waiting = redis.call('ZCARD', queue_key) + redis.call('ZCARD', granting_key)
  return {
    'image', image.epoch, image.state, image.opens, image.ends, image.limit,
    image.available, image.stock, image.held, pending, image.tick,
    line.standby, waiting, line.race and -1 or line.next, line.high, line.moves, line.ended,
    redis.call('SCARD', blocked_key),
  }
end

register('summary', summary, { 'no-writes' })
