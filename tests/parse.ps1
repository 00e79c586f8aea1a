# Parses each script named, and fails on a syntax error; nothing is run.
$bad = 0
foreach ($file in $args) {
    $errors = $null
    [void][System.Management.Automation.Language.Parser]::ParseFile((Resolve-Path $file), [ref]$null, [ref]$errors)
    foreach ($problem in $errors) { "${file}: $($problem.Message)"; $bad = 1 }
}
exit $bad
