//! Personal numbers of Europe.

use crate::check::personal as check;
use crate::definition::{Definition, Form};

pub(super) const CATALOGUE: &[Definition] = &[
    Definition::pii("uk_nino", "UK national insurance number")
        .about("Two letters, six digits, a letter.", "HMRC manual NIM39110")
        .forms(&[Form::groups(&["6", "2 2 2", "2-2-2"])
            .check(check::uk_nino)
            .open()])
        .examples(
            &["AB123456C", "NI number AB 12 34 56 C"],
            &["DA123456C", "BG123456A", "AB123456E"],
        ),
    Definition::pii("uk_nhs", "UK NHS number")
        .context(&[
            "nhs",
            "nhs_number",
            "national health",
            "health service",
            "patient",
        ])
        .about("Ten digits, mod 11.", "NHS data dictionary")
        .forms(&[Form::groups(&["3_3_4", "10"]).check(check::uk_nhs).in_context()])
        .examples(
            &[
                "NHS number 943 476 5919",
                "nhs: 9434765919",
                "NHS no 457-473-3993",
            ],
            &["943 476 5919", "NHS 943 476 5918"],
        ),
    Definition::pii("de_tax_id", "German tax id")
        .context(&[
            "steuer",
            "steuer-id",
            "steuerid",
            "steueridentifikationsnummer",
            "steuer_id",
            "steuernummer",
            "idnr",
            "identifikationsnummer",
            "tin",
            "tax id",
            "tax_id",
            "german",
            "finanzamt",
        ])
        .about(
            "Eleven digits, ISO 7064 mod 11,10.",
            "Bundeszentralamt für Steuern",
        )
        .forms(&[Form::groups(&["11", "2 3 3 3"])
            .check(check::de_tax_id)
            .in_context()])
        .examples(
            &["Steuer-ID: 86095742719", "IdNr 86 095 742 719"],
            &["86095742719", "Steuer-ID: 86095742718"],
        ),
    Definition::pii("fr_nir", "French social security number")
        .confidence(0.95)
        .about("Thirteen characters and a key mod 97.", "INSEE, NIR")
        .forms(&[
            Form::groups(&["15", "13 2", "1 2 2 2 3 3 2", "13-2"]).check(check::fr_nir),
            Form::run(15, 15, "[1-478][0-9]{4}2[ABab][0-9]{8}").check(check::fr_nir),
            Form::groups(&["3 3 2"]).check(check::corsican_nir),
        ])
        .examples(
            &[
                "255081416802538",
                "2 55 08 14 168 025 38",
                "1 97 07 2B 126 928 09",
            ],
            &["255081416802539", "1 97 07 2B 126 928 08"],
        ),
    Definition::pii("es_dni_nie", "Spanish DNI or NIE")
        .confidence(0.95)
        .about(
            "Eight digits, or X, Y, Z and seven, with a check letter.",
            "Spanish Ministry of the Interior",
        )
        .forms(&[Form::groups(&["8", "7"]).check(check::es_dni_nie).open()])
        .examples(
            &["12345678Z", "X1234567L", "X-1234567L", "DNI: 12345678-Z"],
            &["12345678A", "X1234567A"],
        ),
    Definition::pii("it_codice_fiscale", "Italian tax code")
        .confidence(0.97)
        .about(
            "Sixteen characters, the last a check letter.",
            "Agenzia delle Entrate",
        )
        .forms(&[Form::run(
            16,
            16,
            "(?i)[A-Z]{6}[0-9LMNPQRSTUV]{2}[ABCDEHLMPRST][0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{3}[A-Z]",
        )
        .check(check::it_codice_fiscale)])
        .examples(&["RSSMRA85T10A562S"], &["RSSMRA85T10A562T"]),
    Definition::pii("nl_bsn", "Dutch citizen number")
        .context(&[
            "bsn",
            "burgerservicenummer",
            "sofinummer",
            "sofi",
            "citizen service",
        ])
        .about(
            "Nine digits, eleven test.",
            "Rijksdienst voor Identiteitsgegevens",
        )
        .forms(&[Form::groups(&["9", "4.2.3", "3_3_3"])
            .check(check::nl_bsn)
            .in_context()])
        .examples(&["BSN: 111222333"], &["111222333", "BSN: 111222334"]),
    Definition::pii("be_nrn", "Belgian national number")
        .context(&[
            "rijksregister",
            "rijksregisternummer",
            "registre national",
            "national number",
            "nrn",
            "insz",
            "niss",
            "belgian",
            "numéro national",
        ])
        .about(
            "Birth date, counter and check mod 97.",
            "Belgian national register",
        )
        .forms(&[Form::groups(&["2.2.2-3.2", "11"])
            .check(check::be_nrn)
            .in_context()])
        .examples(
            &["Rijksregisternummer 93.05.18-223.61", "NISS: 93051822361"],
            &["93051822361", "part 93.05.18-223.61", "NISS: 93051822362"],
        ),
    Definition::pii("ch_ahv", "Swiss insurance number")
        .confidence(0.95)
        .about("756 and ten digits, EAN-13.", "Swiss Central Compensation Office")
        .forms(&[Form::groups(&["3.4.4.2", "13"]).check(check::ch_ahv)])
        .examples(&["756.9217.0769.85", "7569217076985"], &["756.9217.0769.84"]),
    Definition::pii("pl_pesel", "Polish PESEL")
        .context(&["pesel", "numer ewidencyjny", "polish", "polska"])
        .about(
            "Birth date, counter and check digit.",
            "Polish Ministry of Digital Affairs",
        )
        .forms(&[Form::groups(&["11"]).check(check::pl_pesel).in_context()])
        .examples(&["PESEL 44051401359"], &["44051401359", "PESEL 44051401358"]),
    Definition::pii("se_personnummer", "Swedish personal number")
        .context(&[
            "personnummer",
            "personnr",
            "samordningsnummer",
            "pnr",
            "swedish",
            "personal identity number",
            "personal number",
        ])
        .about("Birth date, counter and Luhn.", "Skatteverket")
        .forms(&[Form::groups(&["6-4", "8-4", "10", "12"])
            .check(check::se_personnummer)
            .in_context()])
        .examples(
            &["personnummer 811218-9876", "personnummer: 198112189876"],
            &["811218-9876", "personnummer 811218-9877"],
        ),
    Definition::pii("fi_hetu", "Finnish personal code")
        .confidence(0.95)
        .about(
            "Birth date, century sign, counter, check character.",
            "Digital and Population Data Services Agency",
        )
        .forms(&[Form::groups(&["6", "6-3", "6-4"]).check(check::fi_hetu).open()])
        .examples(&["131052-308T", "131052A308T", "221276-7633"], &["131052-308U"]),
    Definition::pii("no_fnr", "Norwegian birth number")
        .context(&[
            "fødselsnummer",
            "fodselsnummer",
            "fødselsnr",
            "fodselsnr",
            "norge",
            "norsk",
            "fnr",
            "personnummer",
            "norwegian",
            "d-nummer",
        ])
        .about("Birth date, counter and two check digits.", "Skatteetaten")
        .forms(&[Form::groups(&["11", "6 5"]).check(check::no_fnr).in_context()])
        .examples(
            &["fødselsnummer 13097248022"],
            &["13097248022", "fnr 13097248023"],
        ),
];
