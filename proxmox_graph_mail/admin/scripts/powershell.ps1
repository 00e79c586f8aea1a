# Microsoft Graph PowerShell: the app registration, Mail.Send, admin consent. Run it as an administrator of the tenant.
$ErrorActionPreference = 'Stop'
$tenant = '@tenant@'
$name = '@name@'
$graphApp = '00000003-0000-0000-c000-000000000000'      # Microsoft Graph
$mailSend = 'b633e1c5-b582-4048-a93e-9f11b44c7e96'      # its application permission Mail.Send
Connect-MgGraph -TenantId $tenant -Scopes Application.ReadWrite.All, AppRoleAssignment.ReadWrite.All
$access = @{ ResourceAppId = $graphApp; ResourceAccess = @(@{ Id = $mailSend; Type = 'Role' }) }
$app = New-MgApplication -DisplayName $name -SignInAudience AzureADMyOrg -RequiredResourceAccess $access
$sp = New-MgServicePrincipal -AppId $app.AppId
$graph = Get-MgServicePrincipal -Filter "appId eq '$graphApp'"
New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $sp.Id -PrincipalId $sp.Id -ResourceId $graph.Id -AppRoleId $mailSend
# A secret for two years; its SecretText is shown once. (A certificate instead: proxmox-graph-mail setup --certificate.)
$password = @{ DisplayName = $name; EndDateTime = (Get-Date).AddYears(2) }
$secret = Add-MgApplicationPassword -ApplicationId $app.Id -PasswordCredential $password
"GRAPH_TENANT_ID=$((Get-MgContext).TenantId)"
"GRAPH_CLIENT_ID=$($app.AppId)"
"GRAPH_OBJECT_ID=$($app.Id)"
"GRAPH_CLIENT_SECRET=$($secret.SecretText)"
"CREDENTIAL_EXPIRES=$($secret.EndDateTime.ToString('yyyy-MM-dd'))"
