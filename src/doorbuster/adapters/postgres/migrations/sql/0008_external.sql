-- External payment: what the shop reports, and the keys passes are signed with.
select 1;
