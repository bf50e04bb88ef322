-- Shop events: what the shop is told.
select 1;
