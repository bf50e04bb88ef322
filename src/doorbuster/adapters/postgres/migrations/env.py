"""How alembic runs the revisions: always to a script, which `migrate.py` executes or prints.

One way for both means that what an administrator reads beforehand is what is executed, and that neither a second
driver nor SQLAlchemy's bridge to asyncpg is needed.
"""

from alembic import context

# The script has no begin and commit of its own: it is executed in a transaction that has taken the lock.
context.configure(dialect_name="postgresql", transactional_ddl=False, output_buffer=context.config.output_buffer)
context.run_migrations()
