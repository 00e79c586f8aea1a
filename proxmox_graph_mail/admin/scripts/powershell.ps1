# Microsoft Graph PowerShell: the app registration, its credential, its right to send. Run it as a Privileged Role Administrator or
# Global Administrator: an Application Administrator cannot grant Graph's permissions. Use a session in which Connect-ExchangeOnline
# has not run: the two modules clash.
$ErrorActionPreference = 'Stop'
$tenant = '@tenant@'            # empty: the tenant that you sign in to
$name = '@name@'
$environment = '@environment@'
$sender = '@sender@'
$certificate = '@certificate@'  # the host's certificate, base64; empty: make a client secret
$grant = '@grant@'              # no: entra rbac grants the one mailbox instead
$graphApp = '00000003-0000-0000-c000-000000000000'      # Microsoft Graph
$mailSend = 'b633e1c5-b582-4048-a93e-9f11b44c7e96'      # its application permission Mail.Send

if (-not (Get-Module -ListAvailable Microsoft.Graph.Applications)) {
    Install-Module Microsoft.Graph.Applications -Scope CurrentUser
}
$where = @{ Environment = $environment; NoWelcome = $true }
if ($tenant) { $where.TenantId = $tenant }
Connect-MgGraph @where -Scopes Application.ReadWrite.All, AppRoleAssignment.ReadWrite.All

Write-Host "App registration $name …"
$app = New-MgApplication -DisplayName $name -SignInAudience AzureADMyOrg
$sp = New-MgServicePrincipal -AppId $app.AppId
if ($grant -eq 'yes') {
    Write-Host 'Mail.Send, and consent to it …'
    $access = @{ ResourceAppId = $graphApp; ResourceAccess = @(@{ Id = $mailSend; Type = 'Role' }) }
    Update-MgApplication -ApplicationId $app.Id -RequiredResourceAccess $access
    $graph = Get-MgServicePrincipal -Filter "appId eq '$graphApp'"
    $assignment = @{ PrincipalId = $sp.Id; ResourceId = $graph.Id; AppRoleId = $mailSend }
    New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $sp.Id @assignment | Out-Null
}
if ($certificate) {
    Write-Host "The host's certificate …"
    $key = @{ Type = 'AsymmetricX509Cert'; Usage = 'Verify'; Key = [Convert]::FromBase64String($certificate) }
    Update-MgApplication -ApplicationId $app.Id -KeyCredentials $key
}
else {
    Write-Host 'A client secret for two years …'
    $password = @{ DisplayName = $name; EndDateTime = (Get-Date).AddYears(2) }
    $secret = Add-MgApplicationPassword -ApplicationId $app.Id -PasswordCredential $password
}

''
'# Paste these lines into proxmox-graph-mail setup:'
"GRAPH_TENANT_ID=$((Get-MgContext).TenantId)"
"GRAPH_CLIENT_ID=$($app.AppId)"
if (-not $certificate) {
    "GRAPH_CLIENT_SECRET='$($secret.SecretText)'"
    "CREDENTIAL_EXPIRES=$($secret.EndDateTime.ToString('yyyy-MM-dd'))"
}
"GRAPH_OBJECT_ID=$($app.Id)"
if ($sender) { "GRAPH_SENDER=$sender" }
