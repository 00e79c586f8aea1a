"""`entra`: scripts, with this host's values, that make the app and restrict it to its mailbox; to be run by a tenant's admin."""

from enum import StrEnum
from string import Template
from typing import Annotated

import typer

from proxmox_graph_mail import settings
from proxmox_graph_mail.errors import SettingsError
from proxmox_graph_mail.host import this_host

MAIL_SEND = "b633e1c5-b582-4048-a93e-9f11b44c7e96"
"""The app role Mail.Send of Microsoft Graph (Graph permissions reference)."""
GRAPH_APP = "00000003-0000-0000-c000-000000000000"


class Form(StrEnum):
    """What to print."""

    CLI = "cli"
    POWERSHELL = "powershell"
    RBAC = "rbac"


CLI = """\
# Azure CLI (https://aka.ms/azure-cli): the app registration, Mail.Send, admin consent. Run it as an administrator of the tenant.
az login --tenant $tenant --allow-no-subscriptions
APP=$$(az ad app create --display-name '$name' --sign-in-audience AzureADMyOrg --query appId -o tsv)
az ad sp create --id "$$APP"
az ad app permission add --id "$$APP" --api $graph --api-permissions $role=Role
sleep 30                                             # Entra needs a moment to know the new app
az ad app permission admin-consent --id "$$APP"
# A secret for two years; its password is shown once. (A certificate instead: proxmox-graph-mail setup --certificate makes it,
# az ad app credential reset --id "$$APP" --cert @proxmox-graph-mail.crt --append uploads it.)
az ad app credential reset --id "$$APP" --append --display-name '$name' --years 2 --query password -o tsv
echo "GRAPH_TENANT_ID=$$(az account show --query tenantId -o tsv)"
echo "GRAPH_CLIENT_ID=$$APP"
echo "GRAPH_APPLICATION_ID=$$(az ad app show --id "$$APP" --query id -o tsv)"
echo "CREDENTIAL_EXPIRES=$$(az ad app credential list --id "$$APP" --query '[0].endDateTime' -o tsv | cut -c1-10)"
"""

POWERSHELL = """\
# Microsoft Graph PowerShell: the app registration, Mail.Send, admin consent. Run it as an administrator of the tenant.
Connect-MgGraph -TenantId $tenant -Scopes Application.ReadWrite.All, AppRoleAssignment.ReadWrite.All
$$access = @{ ResourceAppId = '$graph'; ResourceAccess = @(@{ Id = '$role'; Type = 'Role' }) }
$$app = New-MgApplication -DisplayName '$name' -SignInAudience AzureADMyOrg -RequiredResourceAccess $$access
$$sp = New-MgServicePrincipal -AppId $$app.AppId
$$graph = Get-MgServicePrincipal -Filter "appId eq '$graph'"
New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $$sp.Id -PrincipalId $$sp.Id -ResourceId $$graph.Id -AppRoleId $role
# A secret for two years; its SecretText is shown once. (A certificate instead: proxmox-graph-mail setup --certificate.)
$$password = @{ DisplayName = '$name'; EndDateTime = (Get-Date).AddYears(2) }
$$secret = Add-MgApplicationPassword -ApplicationId $$app.Id -PasswordCredential $$password
"GRAPH_TENANT_ID=$$((Get-MgContext).TenantId)"
"GRAPH_CLIENT_ID=$$($$app.AppId)"
"GRAPH_APPLICATION_ID=$$($$app.Id)"
"GRAPH_CLIENT_SECRET=$$($$secret.SecretText)"
"CREDENTIAL_EXPIRES=$$($$secret.EndDateTime.ToString('yyyy-MM-dd'))"
"""

RBAC = """\
# Exchange Online PowerShell: the app may send as this mailbox alone (RBAC for Applications). Run it as an Exchange administrator.
# It takes the place of New-ApplicationAccessPolicy, which Microsoft advises against for new apps.
Connect-ExchangeOnline
Connect-MgGraph -TenantId $tenant -Scopes Application.Read.All, AppRoleAssignment.ReadWrite.All
$$sp = Get-MgServicePrincipal -Filter "appId eq '$client'"      # the enterprise application, not the registration
New-ServicePrincipal -AppId $client -ObjectId $$sp.Id -DisplayName '$name'
New-ManagementScope -Name '$name' -RecipientRestrictionFilter "PrimarySmtpAddress -eq '$sender'"
New-ManagementRoleAssignment -App $client -Role 'Application Mail.Send' -CustomResourceScope '$name'
# The rights add up: with Entra's own Mail.Send the app could still send as anybody. Take that away:
$$graph = Get-MgServicePrincipal -Filter "appId eq '$graph'"
Get-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $$sp.Id |
    Where-Object { $$_.ResourceId -eq $$graph.Id -and $$_.AppRoleId -eq '$role' } |
    ForEach-Object { Remove-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $$sp.Id -AppRoleAssignmentId $$_.Id }
# Is it so? InScope is True for the mailbox, and False for any other. (Exchange takes 30 minutes to 2 hours to act on it.)
# (Were Mail.ReadWrite or Mail.ReadBasic granted too, they hold for every mailbox: the roles 'Application Mail.ReadWrite' and
# 'Application Mail.ReadBasic' with the same scope take their place.)
Test-ServicePrincipalAuthorization -Identity $client -Resource $sender | Format-Table
Test-ServicePrincipalAuthorization -Identity $client -Resource another.mailbox@$domain | Format-Table
"""


def entra(
    form: Annotated[Form, typer.Argument(metavar="cli|powershell|rbac")] = Form.CLI,
    name: Annotated[str, typer.Option("--name", help="The app's name in the tenant.")] = "",
) -> None:
    """Print a ready-to-run script: the app registration by Azure CLI or PowerShell, or its restriction to the mailbox (rbac).

    Example: proxmox-graph-mail entra rbac
    """
    print(script(form, name), end="")


def script(form: Form, name: str = "") -> str:
    """The script, with this host's values where they are known."""
    try:
        found = settings.load()
        tenant, client, sender = found.graph_tenant_id, found.graph_client_id, found.graph_sender
    except SettingsError:
        tenant, client, sender = "YOUR-TENANT.onmicrosoft.com", "YOUR-CLIENT-ID", "pve@example.com"
    values = {
        "tenant": tenant, "client": client, "sender": sender, "domain": sender.rpartition("@")[2], "graph": GRAPH_APP,
        "role": MAIL_SEND, "name": _quotable(name or f"proxmox-graph-mail {this_host().name}"),
    }  # fmt: skip
    return Template({Form.CLI: CLI, Form.POWERSHELL: POWERSHELL, Form.RBAC: RBAC}[form]).substitute(values)


def _quotable(name: str) -> str:
    """For single quotes in both shells."""
    return "".join(letter for letter in name if letter.isprintable() and letter not in "'‘’`$\\")[:60]
