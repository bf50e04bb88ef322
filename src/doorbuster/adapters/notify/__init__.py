"""Ways to reach people by mail.

Owns: which one is configured. Read next: `smtp.py`, `files.py`, `letters.py`.
"""

from doorbuster.adapters.notify.files import FileMailer
from doorbuster.adapters.notify.smtp import SmtpMailer
from doorbuster.config import Settings


def build_mailer(settings: Settings) -> SmtpMailer | FileMailer:
    """SMTP where a server is named, files in the data directory elsewhere. ValueError if the address is none."""
    url = settings.smtp_url.get_secret_value()
    if url:
        return SmtpMailer(url, sender=settings.mail_from)
    return FileMailer(settings.data_dir / "mail", sender=settings.mail_from)
