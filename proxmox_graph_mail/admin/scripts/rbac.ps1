# Exchange Online PowerShell: the app may send as this mailbox alone (RBAC for Applications). Run it as an Exchange administrator.
# It takes the place of New-ApplicationAccessPolicy, which Microsoft advises against for new apps.
$ErrorActionPreference = 'Stop'
$tenant = '@tenant@'
$client = '@client@'
$sender = '@sender@'
$name = '@name@'
$graphApp = '00000003-0000-0000-c000-000000000000'      # Microsoft Graph
$mailSend = 'b633e1c5-b582-4048-a93e-9f11b44c7e96'      # its application permission Mail.Send
Connect-ExchangeOnline
Connect-MgGraph -TenantId $tenant -Scopes Application.Read.All, AppRoleAssignment.ReadWrite.All
$sp = Get-MgServicePrincipal -Filter "appId eq '$client'"      # the enterprise application, not the registration
New-ServicePrincipal -AppId $client -ObjectId $sp.Id -DisplayName $name
New-ManagementScope -Name $name -RecipientRestrictionFilter "PrimarySmtpAddress -eq '$sender'"
New-ManagementRoleAssignment -App $client -Role 'Application Mail.Send' -CustomResourceScope $name
# The rights add up: with Entra's own Mail.Send the app could still send as anybody. Take that away:
$graph = Get-MgServicePrincipal -Filter "appId eq '$graphApp'"
Get-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $sp.Id |
    Where-Object { $_.ResourceId -eq $graph.Id -and $_.AppRoleId -eq $mailSend } |
    ForEach-Object { Remove-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $sp.Id -AppRoleAssignmentId $_.Id }
# Is it so? InScope is True for the mailbox, and False for any other. (Exchange takes 30 minutes to 2 hours to act on it.)
# (If Mail.ReadWrite or Mail.ReadBasic was granted too, it holds for every mailbox: the roles 'Application Mail.ReadWrite' and
# 'Application Mail.ReadBasic' with the same scope take its place.)
Test-ServicePrincipalAuthorization -Identity $client -Resource $sender | Format-Table
Test-ServicePrincipalAuthorization -Identity $client -Resource 'another.mailbox@@domain@' | Format-Table
