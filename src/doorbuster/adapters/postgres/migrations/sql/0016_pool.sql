-- How much of its connections to this database a gate needed at the worst since its last beat; above 1 calls waited.
alter table gate_beats add column pool_share double precision not null default 0 check (pool_share >= 0);
