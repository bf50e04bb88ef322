"""Money is an integer of minor units with a currency; nothing divides it, and `amount` alone sets a point in it.

Owns: the list of currencies (ISO 4217 active codes, without funds, metals and test codes), and their minor units.
"""

from typing import Final

CURRENCIES: Final = frozenset(
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP "
    "CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF "
    "IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD "
    "MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB "
    "RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD "
    "UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG".split()
)

_WITHOUT: Final = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split())
_THOUSANDTHS: Final = frozenset("BHD IQD JOD KWD LYD OMR TND".split())


def amount(minor: int, currency: str) -> str:
    """As people read it: 4900 USD is 49.00 USD, 5000 JPY is 5,000 JPY."""
    digits = 0 if currency in _WITHOUT else 3 if currency in _THOUSANDTHS else 2
    if not digits:
        return f"{minor:,} {currency}"
    text = f"{minor:0{digits + 1}d}"
    return f"{int(text[:-digits]):,}.{text[-digits:]} {currency}"
