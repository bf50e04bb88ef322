"""Ways to reach people by mail and by web push.

Owns: which ones are configured. Read next: `smtp.py`, `files.py`, `push.py`, `letters.py`.
"""

from email.utils import parseaddr

from doorbuster.adapters.notify.files import FileMailer
from doorbuster.adapters.notify.smtp import SmtpMailer
from doorbuster.adapters.notify.vapid import Vapid
from doorbuster.config import Settings
from doorbuster.engine.waitlist import PushTerms


def build_mailer(settings: Settings) -> SmtpMailer | FileMailer:
    """SMTP where a server is named, files in the data directory elsewhere. ValueError if the address is none."""
    url = settings.smtp_url.get_secret_value()
    if url:
        return SmtpMailer(url, sender=settings.mail_from)
    return FileMailer(settings.data_dir / "mail", sender=settings.mail_from)


def build_vapid(settings: Settings) -> Vapid | None:
    """Who sends push messages; None without a key. ValueError if key or subject is none."""
    key = settings.push_private_key.get_secret_value()
    if not key:
        return None
    return Vapid(key, settings.push_subject or f"mailto:{parseaddr(settings.mail_from)[1]}")


def push_terms(settings: Settings) -> PushTerms | None:
    """What browsers are asked for; None without a key."""
    vapid = build_vapid(settings)
    return None if vapid is None else PushTerms(vapid.public_key, settings.push_services.split())
