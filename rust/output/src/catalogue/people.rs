//! Personal data that is not bound to a country: addresses, telephone, cards, accounts, documents.

use crate::check::personal as check;
use crate::definition::{
    Definition, Form,
    Severity::{Critical, Low, Medium},
};

pub(super) const CATALOGUE: &[Definition] = &[
    Definition::pii("email_address", "e-mail address")
        .about("Mailbox of a person or a role.", "RFC 5321, RFC 6531")
        .examples(&["customer email alice@example.com should", "<bob.o'neil+x@mail.example.co.uk>", "jürgen@müller.de", "\"mailto:carol@example.org\""], &["git@github.com:cordum/cordum.git", "logo@2x.png", "lodash@4.17.21", "https://user@example.com/x"]),
    Definition::pii("phone_number", "phone number")
        .confidence(0.85)
        .context(&["phone", "tel", "telephone", "mobile", "cell", "call", "fax", "whatsapp", "sms", "contact", "telefon", "handy", "téléphone", "teléfono", "telefono", "телефон", "טלפון", "נייד"])
        .about("Number of a person or an office, international or national.", "ITU-T E.164 and national plans")
        .examples(&["(415) 555-1212", "415-555-1212", "+1 415 555 1212", "+44 20 7946 0958", "+49 30 901820", "Mobile: 052-345-6789", "+972-52-345-6789", "07700 900123", "phone: 4155551212", "0412 345 678", "(02) 9374 4000", "(11) 91234-5678", "03-1234-5678", "010-1234-5678", "8 (495) 123-45-67", "phone 612 345 678", "mobile: 98765 43210", "Tel: 06-12345678"], &["1234567890123", "2024-01-02", "192.168.100.200", "4155551212", "612 345 678 rows", "98765 43210"]),
    Definition::pii("credit_card", "payment card number")
        .severity(Critical)
        .confidence(0.95)
        .about("Card number of a known issuer with a valid check digit.", "ISO/IEC 7812")
        .examples(&["4111 1111 1111 1111", "3782 822463 10005", "4000000000006", "5555-5555-5555-4444", "card=6011111111111117"], &["1234567890123", "99999999999999999", "123456789012", "4111 1111 1111 1112"]),
    Definition::pii("iban", "IBAN")
        .confidence(0.95)
        .about("International bank account number.", "ISO 13616, IBAN registry")
        .forms(&[Form::run(15, 34, "[A-Za-z]{2}[0-9]{2}[A-Za-z0-9]{11,30}").check(check::compact_iban)])
        .examples(&["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819", "IBAN: FR14 2004 1010 0505 0001 3M02 606", "MT84 MALT 0110 0001 2345 MTLC AST0 01S", "de89370400440532013000", "gb29 nwbk 6016 1331 9268 19"], &["De89370400440532013000", "DE89 3704 0044 0532 0130 01", "ZZ89370400440532013000"]),
    Definition::pii("date_of_birth", "date of birth")
        .confidence(0.3)
        .about("Date named as a birthday.", "convention")
        .forms(&[
            Form::groups(&["4-2-2", "4/2/2", "4.2.2", "2-2-4", "2/2/4", "2.2.4", "1/1/4", "1/2/4", "2/1/4", "1.1.4", "1.2.4", "2.1.4", "2/2/2", "2-2-2", "2.2.2", "8"]).check(check::birth_date).in_context(),
            Form::near(
                &["birth", "born", "dob", "d.o.b", "naissance", "nacimiento", "nascita", "nato il", "nata il", "nascimento", "geburt", "geboren", "geboorte"],
                r"(?i)\b(?P<value>(?:[0-3]?[0-9](?:st|nd|rd|th|er|º|\.)?[\s-]+(?:de\s+)?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mär|mai|okt|dez|janv|févr?|avr|juin|juil|août|aout|déc|ene|abr|ago|dic|gen|mag|giu|lug|set|ott|fev|out|mrt|maart|mei)(?:[a-z]|é){0,8}\.?,?[\s-]+(?:de\s+|del\s+)?(?:19|20)[0-9]{2})|(?:(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?\s+[0-3]?[0-9](?:st|nd|rd|th)?,?\s+(?:19|20)[0-9]{2}))\b",
            ).check(check::birth_date).in_context(),
            // The day of a time stamp that says no more than the day: those of log lines do.
            Form::near(&["birth", "born", "dob"], r"\b(?P<value>(?:19|20)[0-9]{2}-[0-9]{2}-[0-9]{2})T[0-9]{2}:00(?::00|Z|[^0-9:]|$)").check(check::birth_date).in_context(),
        ])
        .context(&["dob", "born", "birth", "birthday", "birthdate", "date of birth", "d.o.b", "geburtsdatum", "geboren", "geb", "naissance", "né le", "née le", "nacimiento", "nascita", "nato il", "nata il", "geboortedatum", "nascimento", "urodzenia", "рождения", "родился", "geboorte", "nacido", "nacida", "תאריך לידה"])
        .examples(&["DOB: 1985-07-14", "born on July 14, 1985", "date of birth 14/07/1985", "Geburtsdatum: 14.07.1985", "d.o.b. 14 July 1985", "date de naissance : 14 juillet 1985", "fecha de nacimiento: 14 de julio de 1985"], &["released 1985-07-14", "DOB: 1985-13-41"]),
    Definition::pii("medical_record_number", "medical record number")
        .confidence(0.3)
        .about("Number of a patient's record.", "convention")
        .forms(&[
            Form::groups(&["6", "7", "8", "9", "10", "3_3_3", "2_2_2", "3_3", "3_4"]).check(check::record_number).in_context(),
            Form::near(&["mrn", "medical rec"], r"\b(?P<value>[A-Z]{1,3}-?[0-9]{5,10})\b").check(check::record_number).in_context(),
            Form::near(&["mrn"], r"(?i)mrn\s?[-#]{1,2}:?\s?(?P<value>[0-9]{5,10})\b").check(check::record_number).in_context(),
        ])
        .context(&["mrn", "medical record", "medical_record", "medicalrecord", "patient id", "patient_id", "patient number", "hospital number", "chart number", "patientenakte"])
        .examples(&["MRN: 12345678", "medical record number A-1234567", "patient_id=83920114"], &["ticket 12345678", "MRN missing"]),
    Definition::pii("drivers_license", "driver's license")
        .confidence(0.3)
        .about("License number in the pattern of a US state, near its name.", "AAMVA, state formats")
        .forms(&[
            Form::near(&["licen", "dln", "dl num", "dl no", "dl #"], r"\b(?P<value>[A-Z]{1,2}[0-9]{5,14}|[A-Z][0-9]{3}-[0-9]{4}-[0-9]{4}|[A-Z][0-9]{3}-[0-9]{3}-[0-9]{2}-[0-9]{3}-[0-9]|[A-Z9]{5}[0-9]{6}[A-Z9]{2}[0-9A-Z]{3}|[0-9]{7,9})\b").check(check::license_number).in_context(),
        ])
        .context(&["driver license", "drivers license", "driver's license", "driver’s license", "driver’s licence", "driver's licence", "driving licence", "driving license", "driver licence", "drivers_license", "driver_license", "license number", "licence number", "dl number", "dl no", "dl #", "dln"])
        .examples(&["driver's license D1234567", "drivers_license: A12345678", "DL number A1234567"], &["license MIT", "license: Apache-2.0 A1234567 nothing"]),
    Definition::pii("passport_mrz", "passport machine readable zone")
        .confidence(0.98)
        .about("Lines of a passport or identity card with all check digits.", "ICAO 9303, parts 4 and 5")
        .examples(
            &["P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10", "I<UTOD231458907<<<<<<<<<<<<<<<\n7408122F1204159UTO<<<<<<<<<<<6\nERIKSSON<<ANNA<MARIA<<<<<<<<<<"],
            &["P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C37UTO7408122F1204159ZE184226B<<<<<10"],
        ),
    Definition::pii("ip_address", "IP address")
        .severity(Low)
        .confidence(0.6)
        .only_when_named()
        .about("Address of a host, version 4 or 6.", "RFC 791, RFC 4291")
        .examples(&["client 203.0.113.7 said", "from 2001:db8::8a2e:370:7334 port"], &["version 1.2.3", "203.0.113.999"]),
    Definition::pii("crypto_wallet_address", "crypto wallet address")
        .severity(Medium)
        .confidence(0.95)
        .about("Bitcoin or Ethereum address with its checksum.", "BIP 173, BIP 350, EIP-55")
        .forms(&[
            Form::run(26, 35, "[13][1-9A-HJ-NP-Za-km-z]{25,34}").check(check::bitcoin_address),
            Form::prefix(&["bc1", "BC1"], "(?:bc1[02-9ac-hj-np-z]{11,71}|BC1[02-9AC-HJ-NP-Z]{11,71})").check(check::bech32_address),
            Form::prefix(&["0x0", "0x1", "0x2", "0x3", "0x4", "0x5", "0x6", "0x7", "0x8", "0x9", "0xa", "0xb", "0xc", "0xd", "0xe", "0xf", "0xA", "0xB", "0xC", "0xD", "0xE", "0xF"], "0x[0-9a-fA-F]{40}").check(check::ethereum_address),
        ])
        .examples(&["1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"], &["1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb", "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"]),
];
