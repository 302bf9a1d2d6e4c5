//! Personal numbers of Asia, Africa and Oceania.

use crate::check::personal as check;
use crate::definition::{Definition, Form};

pub(super) const CATALOGUE: &[Definition] = &[
    Definition::pii("au_tfn", "Australian tax file number")
        .context(&["tfn", "tax file", "tax_file", "australian tax"])
        .about(
            "Eight or nine digits, weighted mod 11.",
            "Australian Taxation Office",
        )
        .forms(&[Form::groups(&["9", "8", "3_3_3", "3_3_2", "2_3_3"])
            .check(check::au_tfn)
            .in_context()])
        .examples(&["TFN: 123 456 782"], &["123 456 782", "TFN: 123 456 783"]),
    Definition::pii("au_medicare", "Australian Medicare number")
        .context(&["medicare", "medicare_number", "irn"])
        .about("Ten or eleven digits, weighted mod 10.", "Services Australia")
        .forms(&[Form::groups(&["10", "11", "4_5_1", "4_5_2"])
            .check(check::au_medicare)
            .in_context()])
        .examples(
            &["Medicare 2123 45670 1", "medicare number 2123456701"],
            &["2123 45670 1", "Medicare 2123 45671 1"],
        ),
    Definition::pii("in_pan", "Indian PAN")
        .confidence(0.3)
        .context(&["pan", "permanent account", "income tax", "pan_number", "pancard"])
        .about("Permanent account number.", "Income Tax Department of India")
        .forms(&[Form::groups(&["4"]).check(check::in_pan).in_context().open()])
        .examples(&["PAN: ABCPE1234F"], &["ABCPE1234F", "PAN: ABCXE1234F"]),
    Definition::pii("in_aadhaar", "Indian Aadhaar number")
        .context(&["aadhaar", "aadhar", "uidai", "uid", "आधार"])
        .about("Twelve digits, Verhoeff.", "UIDAI")
        .forms(&[Form::groups(&["4_4_4", "12"])
            .check(check::in_aadhaar)
            .in_context()])
        .examples(
            &["Aadhaar 2345 6789 0124"],
            &["2345 6789 0124", "Aadhaar 2345 6789 0125"],
        ),
    Definition::pii("sg_nric", "Singapore NRIC or FIN")
        .confidence(0.9)
        .about(
            "Letter, seven digits and a check letter.",
            "Immigration and Checkpoints Authority",
        )
        .forms(&[Form::groups(&["7"]).check(check::sg_nric).open()])
        .examples(&["S1234567D", "NRIC S1234567D"], &["S1234567E"]),
    Definition::pii("kr_rrn", "Korean resident number")
        .context(&[
            "rrn",
            "resident registration",
            "주민등록번호",
            "주민번호",
            "korean",
        ])
        .about(
            "Birth date, century and sex digit, check digit.",
            "Korean Resident Registration Act",
        )
        .forms(&[Form::groups(&["6-7", "13"]).check(check::kr_rrn).in_context()])
        .examples(
            &["주민등록번호 900101-1234568", "RRN 900101-1234568"],
            &["900101-1234568", "RRN 900101-1234567"],
        ),
    Definition::pii("cn_resident_id", "Chinese resident id")
        .confidence(0.95)
        .about(
            "Region, birth date, counter and check character.",
            "GB 11643-1999",
        )
        .forms(&[Form::groups(&["18", "17"]).check(check::cn_resident_id).open()])
        .examples(
            &["11010519491231002X", "身份证 440524188001010014"],
            &["110105194912310021"],
        ),
    Definition::pii("jp_my_number", "Japanese My Number")
        .context(&[
            "my number",
            "mynumber",
            "マイナンバー",
            "個人番号",
            "my_number",
            "kojin bango",
        ])
        .about(
            "Twelve digits, weighted mod 11.",
            "Japanese My Number Act, check digit ordinance",
        )
        .forms(&[Form::groups(&["4_4_4", "12"])
            .check(check::jp_my_number)
            .in_context()])
        .examples(
            &["My Number 1234 5678 9018", "マイナンバー: 123456789018"],
            &["1234 5678 9018", "My Number 1234 5678 9017"],
        ),
    Definition::pii("za_id", "South African id")
        .context(&[
            "south african",
            "rsa id",
            "sa id",
            "za id",
            "id number",
            "id_number",
            "identity number",
            "identity_number",
        ])
        .about("Birth date, citizenship and Luhn.", "Department of Home Affairs")
        .forms(&[Form::groups(&["13", "6 4 2 1"]).check(check::za_id).in_context()])
        .examples(
            &["SA ID: 8001015009087", "South African ID 4103218609186"],
            &["8001015009087", "SA ID: 8001015009088"],
        ),
    Definition::pii("tr_tckn", "Turkish id")
        .context(&[
            "tckn",
            "kimlik",
            "tc no",
            "t.c",
            "tc kimlik",
            "turkish",
            "tc_kimlik",
        ])
        .about(
            "Eleven digits, two of them checks.",
            "Turkish population directorate",
        )
        .forms(&[Form::groups(&["11"]).check(check::tr_tckn).in_context()])
        .examples(
            &["TC Kimlik No: 10000000146"],
            &["10000000146", "TCKN 10000000147"],
        ),
    Definition::pii("il_national_id", "Israeli national id")
        .context(&[
            "israeli id",
            "teudat zehut",
            "teudat",
            "national id",
            "national_id",
            "id number",
            "id_number",
            "tz",
            "תעודת זהות",
            "ת.ז",
            "מספר זהות",
            "ת\"ז",
            "ת\\\"ז",
        ])
        .about(
            "Nine digits, Luhn.",
            "Israeli Population and Immigration Authority",
        )
        .forms(&[Form::groups(&["9", "8-1"])
            .check(check::il_national_id)
            .in_context()])
        .examples(
            &["Teudat Zehut 123456782", "ת.ז 123456782"],
            &["123456782", "Teudat Zehut 123456783"],
        ),
    Definition::pii("il_bank_account", "Israeli bank account")
        .confidence(0.3)
        .context(&["bank", "account", "branch", "בנק", "חשבון", "סניף"])
        .about("Bank, branch and account.", "Bank of Israel")
        .forms(&[Form::groups(&["2-3-5", "2-3-6"])
            .check(check::il_bank_account)
            .in_context()])
        .examples(
            &["bank account 12-345-67890", "חשבון 10-800-123456"],
            &["12-345-67890"],
        ),
];
