-- News of gateways: what the store of news asks.

-- name: note
select event_id, fresh, (shown).* from note_events($1, $2, $3, $4)
