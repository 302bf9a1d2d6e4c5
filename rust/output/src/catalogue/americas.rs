//! Personal numbers of the Americas.

use crate::check::personal as check;
use crate::definition::{Definition, Form};

const SSN_WORDS: &[&str] = &[
    "ssn",
    "social security",
    "social_security",
    "socialsecurity",
    "soc sec",
    "tax id",
    "taxpayer",
    "itin",
    "tin",
];

pub(super) const CATALOGUE: &[Definition] = &[
    Definition::pii("us_ssn", "US social security number")
        .confidence(0.85)
        .context(SSN_WORDS)
        .about(
            "Number of the Social Security Administration; never 000, 666 or 9xx.",
            "SSA, number assignment rules",
        )
        .forms(&[
            Form::groups(&["3-2-4"]).check(check::us_ssn),
            Form::groups(&["3_2_4"]).check(check::us_ssn).confidence(0.6),
            Form::groups(&["9"]).check(check::us_ssn).in_context(),
        ])
        .examples(
            &["123-45-6789", "ssn 536 22 1234", "SSN: 536221234"],
            &[
                "000-12-3456",
                "666-12-3456",
                "123-00-4567",
                "078-05-1120",
                "536221234",
            ],
        ),
    Definition::pii("us_itin", "US taxpayer number")
        .confidence(0.85)
        .context(SSN_WORDS)
        .about("Individual taxpayer identification number.", "IRS, ITIN ranges")
        .forms(&[
            Form::groups(&["3_2_4"]).check(check::us_itin),
            Form::groups(&["9"]).check(check::us_itin).in_context(),
        ])
        .examples(&["912-72-1234", "ITIN 912721234"], &["912-12-1234"]),
    Definition::pii("us_bank_routing", "US bank routing number")
        .context(&[
            "routing",
            "aba",
            "rtn",
            "bank",
            "transit",
            "wire",
            "ach",
            "routing_number",
        ])
        .about(
            "Number of a bank in the US payment system.",
            "ABA, routing number policy",
        )
        .forms(&[Form::groups(&["9", "4-4-1"])
            .check(check::us_bank_routing)
            .in_context()])
        .examples(
            &["routing number 021000021", "ABA: 121000358"],
            &["021000021", "routing number 021000022"],
        ),
    Definition::pii("us_npi", "US provider number")
        .context(&["npi", "provider", "national provider", "physician", "prescriber"])
        .about("National provider identifier.", "CMS, NPI check digit")
        .forms(&[Form::groups(&["10"]).check(check::us_npi).in_context()])
        .examples(&["NPI: 1234567893"], &["1234567893", "NPI: 1234567894"]),
    Definition::pii("us_mbi", "US Medicare number")
        .confidence(0.3)
        .context(&["medicare", "mbi", "beneficiary"])
        .about("Medicare beneficiary identifier.", "CMS, MBI format")
        .forms(&[Form::near(
            &["medicare", "mbi", "beneficiary"],
            r"\b[1-9][A-Z][A-Z0-9][0-9]-?[A-Z][A-Z0-9][0-9]-?[A-Z]{2}[0-9]{2}\b",
        )
        .check(check::us_mbi)
        .in_context()])
        .examples(
            &["Medicare number 1EG4-TE5-MK73", "MBI: 1EG4TE5MK73"],
            &["1EG4-TE5-MK73", "Medicare 1SG4-TE5-MK73"],
        ),
    Definition::pii("us_passport", "US passport number")
        .confidence(0.3)
        .context(&["passport", "passport_number", "passport no", "travel document"])
        .about("Nine digits, or a letter and eight.", "US Department of State")
        .forms(&[
            Form::groups(&["9"]).check(check::us_passport).in_context(),
            Form::groups(&["8"]).check(check::us_passport).in_context().open(),
        ])
        .examples(
            &["passport 483920114", "US passport number A12345678"],
            &["483920114", "passport 000000000"],
        ),
    Definition::pii("ca_sin", "Canadian social insurance number")
        .context(&[
            "sin",
            "social insurance",
            "social_insurance",
            "nas",
            "assurance sociale",
            "canada",
            "canadian",
        ])
        .about(
            "Number of Employment and Social Development Canada.",
            "Service Canada",
        )
        .forms(&[Form::groups(&["3_3_3", "9"]).check(check::ca_sin).in_context()])
        .examples(
            &["SIN: 130 692 544", "social insurance number 193456787"],
            &["130 692 544", "SIN: 130 692 545"],
        ),
    Definition::pii("br_cpf", "Brazilian CPF")
        .confidence(0.95)
        .context(&["cpf", "contribuinte", "cadastro"])
        .about("Taxpayer number with two check digits.", "Receita Federal")
        .forms(&[
            Form::groups(&["3.3.3-2"]).check(check::br_cpf),
            Form::groups(&["11"]).check(check::br_cpf).in_context(),
        ])
        .examples(
            &["529.982.247-25", "CPF 52998224725"],
            &["529.982.247-26", "52998224725", "111.111.111-11"],
        ),
    Definition::pii("mx_curp", "Mexican CURP")
        .confidence(0.95)
        .about("Population registry code with a check digit.", "RENAPO")
        .forms(&[
            Form::run(18, 18, "[A-Z][AEIOUX][A-Z]{2}[0-9]{6}[HMX][A-Z]{5}[A-Z0-9][0-9]")
                .check(check::mx_curp),
        ])
        .examples(&["BOXW310820HNERXN09"], &["BOXW310820HNERXN08"]),
];
