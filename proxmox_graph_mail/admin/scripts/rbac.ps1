# Exchange Online PowerShell: the app may send as this mailbox alone (RBAC for Applications). Run it as an Exchange Administrator.
# It takes the place of New-ApplicationAccessPolicy, which Microsoft advises against for new apps. It needs no other module, and
# should not meet one: Connect-MgGraph in the same session clashes with Connect-ExchangeOnline.
$ErrorActionPreference = 'Stop'
$client = '@client@'
$principal = '@principal@'      # the Object ID of the enterprise application, not of the registration: the host's token names it
$sender = '@sender@'
$name = '@name@'
$exchange = '@exchange@'

if (-not (Get-Module -ListAvailable ExchangeOnlineManagement)) {
    Install-Module ExchangeOnlineManagement -Scope CurrentUser
}
Connect-ExchangeOnline -ExchangeEnvironmentName $exchange -ShowBanner:$false

if (-not (Get-ServicePrincipal | Where-Object AppId -EQ $client)) {
    New-ServicePrincipal -AppId $client -ObjectId $principal -DisplayName $name | Out-Null
}
if (-not (Get-ManagementScope | Where-Object Name -EQ $name)) {
    New-ManagementScope -Name $name -RecipientRestrictionFilter "PrimarySmtpAddress -eq '$sender'" | Out-Null
}
New-ManagementRoleAssignment -App $client -Role 'Application Mail.Send' -CustomResourceScope $name | Out-Null

# Is it so? InScope is True for the mailbox, and False for any other. (Exchange takes 30 minutes to 2 hours to act on it.)
# (If Mail.ReadWrite or Mail.ReadBasic was granted in Entra too, it holds for every mailbox: the roles 'Application Mail.ReadWrite'
# and 'Application Mail.ReadBasic' with the same scope take its place.)
'The mailbox (InScope must be True):'
Test-ServicePrincipalAuthorization -Identity $client -Resource $sender | Format-Table
'Any other (InScope must be False):'
Test-ServicePrincipalAuthorization -Identity $client -Resource 'another.mailbox@@domain@' | Format-Table
'If Mail.Send was ever granted in Entra, take it away now: proxmox-graph-mail entra revoke prints the lines for Cloud Shell.'
'Then see that it is so: proxmox-graph-mail check --not-as another.mailbox@@domain@'
